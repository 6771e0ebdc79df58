// Inkstone in JavaScript: the C library as WebAssembly, for browsers and Node. Struct layouts are inkstone.h's, with
// pointers of four bytes.

const OK = 0
const TOO_SMALL = 13
const PAGE = 65536
const PROGRESS = 0
const TOKEN = 1
const FINISHED = 2
const FINISH = ['', 'stop', 'stop text', 'limit', 'full', 'cancelled', 'nothing fed']

// What the library asks of a system: time, chance, and words on the console. There are no files.
function wasi(memory) {
  const BAD_FILE = 8
  const view = () => new DataView(memory().buffer)
  const known = {
    clock_time_get(clock, precision, at) {
      view().setBigUint64(at, BigInt(Math.round((performance.timeOrigin * (clock === 0) + performance.now()) * 1e6)), true)
      return 0
    },
    random_get(at, size) {
      // Node before version 20 has no global one.
      const chance = globalThis.crypto ?? process.getBuiltinModule?.('node:crypto').webcrypto
      chance.getRandomValues(new Uint8Array(memory().buffer, at, size))
      return 0
    },
    environ_sizes_get(count, size) {
      view().setUint32(count, 0, true)
      view().setUint32(size, 0, true)
      return 0
    },
    environ_get: () => 0,
    sched_yield: () => 0,
    fd_write(fd, parts, count, written) {
      let total = 0
      for (let i = 0; i < count; i++) {
        const [at, size] = [view().getUint32(parts + 8 * i, true), view().getUint32(parts + 8 * i + 4, true)]
        console.error(new TextDecoder().decode(new Uint8Array(memory().buffer, at, size)))
        total += size
      }
      view().setUint32(written, total, true)
      return 0
    },
    proc_exit(code) {
      throw new Error(`the library ended with ${code}`)
    },
  }
  return new Proxy(known, { get: (functions, name) => functions[name] ?? (() => BAD_FILE) })
}

/** The library, once for each worker. */
export class Inkstone {
  /** From the bytes of `inkstone.wasm`, or a promise of its response. */
  static async load(source) {
    let instance
    const memory = () => instance.exports.memory
    const module = source instanceof Promise
      ? await WebAssembly.compileStreaming(source)
      : await WebAssembly.compile(source)
    const system = wasi(memory)
    const names = WebAssembly.Module.imports(module).map(({ name }) => [name, system[name]])
    instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: Object.fromEntries(names) })
    instance.exports._initialize()
    return new Inkstone(instance.exports)
  }

  constructor(library) {
    this.library = library
    // Arguments lie in a page of ours; it is used anew by each call.
    this.scratch = this.room(PAGE)
  }

  /** Fresh memory at a multiple of 64, for good: pages that the library does not know. */
  room(bytes) {
    const pages = Math.max(1, Math.ceil(bytes / PAGE))
    return this.library.memory.grow(pages) * PAGE
  }

  get bytes() {
    return new Uint8Array(this.library.memory.buffer)
  }

  get view() {
    return new DataView(this.library.memory.buffer)
  }

  /** The model in the bytes of a `.ink` file, which are copied once. */
  open(file) {
    const at = this.room(file.length)
    this.bytes.set(file, at)
    const [place, error] = [this.scratch, this.scratch + 64]
    this.check(this.library.ink_open_memory(at, file.length, place, error, 256), error)
    return new Model(this, this.view.getUint32(place, true))
  }

  check(status, error) {
    if (status !== OK) throw new Error(error ? this.line(error) : this.line(this.library.ink_status_name(status)))
  }

  /** A text that ends with a zero. */
  line(at) {
    const bytes = this.bytes
    return new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at)))
  }
}

/** A model. */
export class Model {
  constructor(ink, pointer) {
    Object.assign(this, { ink, pointer })
    const info = this.struct(72)
    ink.check(ink.library.ink_model_info(pointer, info))
    this.hasTemplate = ink.view.getUint32(info + 20, true) === 1
  }

  /** A struct of the library, in the scratch page: its size, then zeros. */
  struct(size) {
    const at = this.ink.scratch + 1024
    this.ink.bytes.fill(0, at, at + size)
    this.ink.view.setUint32(at, size, true)
    return at
  }

  /** Tokens of a text; of `chat`, names of control tokens are those tokens. */
  tokenize(text, chat = false) {
    const { ink, pointer } = this
    const encoded = new TextEncoder().encode(text)
    const at = ink.room(encoded.length * 5 + 64)
    ink.bytes.set(encoded, at)
    const [tokens, room] = [(at + encoded.length + 15) & ~15, encoded.length + 4]
    const count = ink.scratch
    ink.check(ink.library.ink_tokenize(pointer, at, encoded.length, chat ? 1 : 0, tokens, room, count))
    return new Uint32Array(ink.library.memory.buffer, tokens, ink.view.getUint32(count, true)).slice()
  }

  /** A conversation as the model's template has it: `[{role, content}]`. */
  render(messages) {
    const { ink, pointer } = this
    const json = new TextEncoder().encode(JSON.stringify(messages) + '\0')
    const [at, error, size] = [ink.room(json.length), ink.scratch + 64, ink.scratch]
    ink.bytes.set(json, at)
    const status = ink.library.ink_chat_render(pointer, at, 0, 0, 0, size, error, 256)
    if (status !== TOO_SMALL) ink.check(status, error)
    const bytes = ink.view.getUint32(size, true)
    const to = ink.room(bytes)
    ink.check(ink.library.ink_chat_render(pointer, at, 0, to, bytes, size, error, 256), error)
    return new TextDecoder().decode(ink.bytes.slice(to, to + bytes))
  }

  /** A session; all its memory is reserved now. */
  session({ context = 1024 } = {}) {
    const { ink, pointer } = this
    const [place, error, config] = [ink.scratch, ink.scratch + 64, this.struct(40)]
    ink.view.setUint32(config + 4, context, true)
    ink.view.setUint32(config + 8, 1, true) // threads
    ink.check(ink.library.ink_session_new(pointer, config, place, error, 256), error)
    return new Session(this, ink.view.getUint32(place, true))
  }
}

/** A sequence of tokens and the answer to it. */
export class Session {
  constructor(model, pointer) {
    Object.assign(this, { model, ink: model.ink, pointer })
  }

  check(status) {
    this.ink.check(status, status === OK ? 0 : this.ink.library.ink_error(this.pointer))
  }

  /** Draws the most probable token at temperature 0. */
  sampling({ temperature = 0, topP = 0, topK = 0, seed = 0 } = {}) {
    const [at, view] = [this.model.struct(32), this.ink.view]
    view.setUint32(at + 4, topK, true)
    view.setBigUint64(at + 8, BigInt(seed), true)
    view.setFloat32(at + 16, temperature, true)
    view.setFloat32(at + 20, topP, true)
    this.check(this.ink.library.ink_set_sampling(this.pointer, at))
  }

  feed(tokens) {
    const at = this.ink.room(tokens.length * 4)
    new Uint32Array(this.ink.library.memory.buffer, at, tokens.length).set(tokens)
    this.check(this.ink.library.ink_feed(this.pointer, at, tokens.length))
  }

  /** Ends the answer at its next step; the session can be used on. */
  cancel() {
    this.ink.library.ink_cancel(this.pointer)
  }

  /** The answer's pieces as they come: `{text, token}`, `{done, total}` of the prompt, and last `{finish}`. */
  * answer({ limit = 0 } = {}) {
    const { ink, model, pointer } = this
    const options = model.struct(20)
    ink.view.setUint32(options + 4, limit, true)
    this.check(ink.library.ink_answer(pointer, options))
    for (;;) {
      const at = model.struct(32)
      this.check(ink.library.ink_step(pointer, 0n, at))
      const field = (index) => ink.view.getUint32(at + 4 * index, true)
      const [kind, start, size] = [field(1), field(6), field(7)]
      const text = new TextDecoder().decode(ink.bytes.slice(start, start + size))
      if (kind === PROGRESS) yield { done: field(4), total: field(5), text }
      if (kind === TOKEN) yield { token: field(2), text }
      if (kind === FINISHED) {
        yield { finish: FINISH[field(3)], text }
        return
      }
    }
  }

  /** Asks: a message where the model knows conversations, else the beginning of a text. */
  * ask(prompt, options) {
    const { model } = this
    const chat = model.hasTemplate
    this.feed(model.tokenize(chat ? model.render([{ role: 'user', content: prompt }]) : prompt, chat))
    yield* this.answer(options)
  }

  free() {
    this.ink.library.ink_session_free(this.pointer)
  }
}
