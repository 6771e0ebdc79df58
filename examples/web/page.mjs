// The page: a worker computes, what it says is shown.
const part = (id) => document.getElementById(id)
let worker, file

// A new worker has a new library: stopping is ending the old one.
function start() {
  worker?.terminate()
  worker = new Worker('worker.mjs', { type: 'module' })
  worker.onmessage = ({ data }) => {
    if (data.ready) busy(false, 'ready')
    if (data.text) part('answer').append(data.text)
    if (data.total) part('state').textContent = `reading ${data.done} of ${data.total} tokens`
    if (data.tokens !== undefined) busy(false, `${data.tokens} tokens, ${(data.tokens / data.seconds).toFixed(1)} a second`)
    if (data.error) busy(false, data.error)
  }
  worker.postMessage({ open: file }, [])
  busy(true, 'opening the model')
}

function busy(is, state) {
  part('ask').disabled = is || !file
  part('stop').disabled = !is
  part('state').textContent = state
}

part('file').onchange = async ({ target }) => {
  file = await target.files[0]?.arrayBuffer()
  if (file) start()
}
part('ask').onclick = () => {
  part('answer').textContent = ''
  worker.postMessage({ ask: part('prompt').value, limit: 200 })
  busy(true, 'answering')
}
part('stop').onclick = start
navigator.serviceWorker?.register('offline.mjs', { type: 'module' })
