// check.mjs MODEL.ink [SCREENSHOT.png]: the page in a headless Chromium answers as Node does, with a network and without.
// Needs `chromium` on the path and playwright-core where Node finds it.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { extname } from 'node:path'
import { Inkstone } from './inkstone.mjs'

const [path, screenshot] = process.argv.slice(2)
const PROMPT = 'Once upon a time'
const { chromium } = createRequire(`${process.cwd()}/`)('playwright-core')
const TYPES = { '.html': 'text/html', '.mjs': 'text/javascript', '.wasm': 'application/wasm' }

const ink = await Inkstone.load(readFileSync(new URL('inkstone.wasm', import.meta.url)))
let expected = ''
for (const { text } of ink.open(readFileSync(path)).session().ask(PROMPT, { limit: 200 })) expected += text

const server = createServer((request, response) => {
  const name = request.url === '/' ? '/index.html' : request.url
  try {
    const body = readFileSync(new URL(`.${name}`, import.meta.url))
    response.writeHead(200, { 'content-type': TYPES[extname(name)] ?? 'text/plain' }).end(body)
  } catch {
    response.writeHead(404).end()
  }
})
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
// The browser itself is to ask nobody for anything.
const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic', '--no-first-run']
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', ...QUIET] })
try {
  const context = await browser.newContext()
  const page = await context.newPage()
  page.on('pageerror', (error) => console.error(`page: ${error.message}`))
  await page.goto(`http://127.0.0.1:${server.address().port}/`)
  await answered(page, 'with a network')
  await page.evaluate(() => navigator.serviceWorker.ready)
  await page.waitForFunction(async () => (await caches.match('inkstone.wasm')) !== undefined)
  await context.setOffline(true)
  server.close()
  server.closeAllConnections()
  await page.reload()
  await answered(page, 'without one')
} finally {
  await browser.close()
  server.close()
}

async function answered(page, how) {
  await page.setInputFiles('#file', path)
  await page.waitForFunction(() => document.getElementById('state').textContent === 'ready')
  await page.fill('#prompt', PROMPT)
  await page.click('#ask')
  await page.waitForFunction(() => document.getElementById('state').textContent.endsWith('a second'), null, { timeout: 120_000 })
  const text = await page.textContent('#answer')
  if (text !== expected) throw new Error(`${how} the page answers otherwise:\n${text}\nnot\n${expected}`)
  console.log(`the page answers as Node does, ${how}: ${await page.textContent('#state')}`)
  if (screenshot) await page.screenshot({ path: screenshot })
}
