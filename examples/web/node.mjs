// node.mjs MODEL.ink PROMPT [LIMIT]: the most probable answer, streamed, in Node.
import { readFileSync } from 'node:fs'
import { Inkstone } from './inkstone.mjs'

const [path, prompt, limit = '64'] = process.argv.slice(2)
if (!prompt) {
  console.error('usage: node node.mjs MODEL.ink PROMPT [LIMIT]')
  process.exit(2)
}
const wasm = readFileSync(new URL('inkstone.wasm', import.meta.url))
const ink = await Inkstone.load(wasm)
const session = ink.open(readFileSync(path)).session()
const begun = performance.now()
let tokens = 0
for (const { text, token } of session.ask(prompt, { limit: Number(limit) })) {
  process.stdout.write(text)
  if (token !== undefined) tokens++
}
const seconds = (performance.now() - begun) / 1000
process.stdout.write('\n')
console.error(`${tokens} tokens in ${seconds.toFixed(2)} s`)
