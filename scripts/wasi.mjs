// wasi.mjs PROGRAM.wasm ARGUMENT...: runs a program for wasm32-wasip1, with this machine's files and environment.
import { readFileSync } from 'node:fs'
import { WASI } from 'node:wasi'

const [program, ...words] = process.argv.slice(2)
const wasi = new WASI({ version: 'preview1', args: [program, ...words], env: process.env, preopens: { '/': '/' } })
const { instance } = await WebAssembly.instantiate(readFileSync(program), wasi.getImportObject())
process.exitCode = wasi.start(instance)
