// Keeps the page's own files, so that it works without a network.
const KEPT = 'inkstone-1'
const FILES = ['./', 'index.html', 'page.mjs', 'worker.mjs', 'inkstone.mjs', 'inkstone.wasm']

self.addEventListener('install', (event) => event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(FILES))))
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()))
self.addEventListener('fetch', (event) => {
  const newest = fetch(event.request).then(async (response) => {
    const cache = await caches.open(KEPT)
    if (event.request.method === 'GET' && response.ok) await cache.put(event.request, response.clone())
    return response
  })
  event.respondWith(newest.catch(() => caches.match(event.request)))
})
