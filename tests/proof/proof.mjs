// proof.mjs PROOF.wasm MODEL.ink [--one]: the hash of every case on each instruction set of the module, a line each as
// `proof` prints them. With --one, the best instruction set alone and the whole prompt at once.
import { readFileSync } from 'node:fs'

const [wasm, path, one] = process.argv.slice(2)
const model = readFileSync(path)
const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {})
const { memory, room, isa, prove } = instance.exports
const at = room(model.length)
new Uint8Array(memory.buffer).set(model, at)
const isas = []
for (let found; (found = isa(isas.length)); ) {
  isas.push(Buffer.from(memory.buffer, Number(found & 0xffffffffn), Number(found >> 32n)).toString())
}
// The order of `cases()`.
const cases = ['f16', 'int8'].flatMap((kv) => [1, 17, 64].map((chunk) => `${kv} ${chunk}`))
isas.forEach((isa, set) => {
  if (one && set < isas.length - 1) return
  cases.forEach((name, index) => {
    if (one && !name.endsWith(' 64')) return
    const at = prove(index, set)
    if (!at) throw new Error(`${name} could not be run`)
    const hash = Buffer.from(memory.buffer, at, 32).toString('hex')
    console.log(`${isa} ${name} n1:${hash}`)
  })
})
