// proof.mjs PROOF.wasm MODEL.ink [--one]: the hash of every case in WebAssembly, a line each as `proof` prints them.
import { readFileSync } from 'node:fs'

const [wasm, path, one] = process.argv.slice(2)
const model = readFileSync(path)
const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {})
const { memory, room, prove } = instance.exports
const at = room(model.length)
new Uint8Array(memory.buffer).set(model, at)
// The order of `cases()`.
const cases = ['f16', 'int8'].flatMap((kv) => [1, 17, 64].map((chunk) => `${kv} ${chunk}`))
cases.forEach((name, index) => {
  if (one && !name.endsWith(' 64')) return
  const at = prove(index)
  if (!at) throw new Error(`${name} could not be run`)
  const hash = Buffer.from(memory.buffer, at, 32).toString('hex')
  console.log(`portable ${name} n1:${hash}`)
})
