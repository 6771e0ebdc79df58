// The library in a worker: messages {open: bytes}, {ask: prompt, limit}; answers {ready}, {text}, {finish}, {error}.
import { Inkstone } from './inkstone.mjs'

const ink = Inkstone.load(fetch('inkstone.wasm'))
let model
self.onmessage = async ({ data }) => {
  try {
    if (data.open) {
      model = (await ink).open(new Uint8Array(data.open))
      self.postMessage({ ready: true })
      return
    }
    const session = model.session()
    const begun = performance.now()
    let tokens = 0
    for (const piece of session.ask(data.ask, { limit: data.limit })) {
      if (piece.token !== undefined) tokens++
      self.postMessage(piece)
    }
    session.free()
    self.postMessage({ tokens, seconds: (performance.now() - begun) / 1000 })
  } catch (error) {
    self.postMessage({ error: error.message })
  }
}
