// Starts the real server for a test file: a free port, a store of its own, the starter model in it, deadlines on everything.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

export const MODEL = 'smollm2:135m'

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}

export async function startServer(settings = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'corral-js-'))
  const port = await freePort()
  const log = openSync(join(folder, 'server.log'), 'a')
  const env = { PATH: process.env.PATH, HOME: folder, OLLAMA_HOST: `127.0.0.1:${port}`, OLLAMA_MODELS: join(folder, 'models'), ...settings }
  const child = spawn(process.env.CORRAL_BIN, ['serve'], { env, stdio: ['ignore', log, log] })
  const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)))
  const url = `http://127.0.0.1:${port}`
  const server = {
    url,
    isAlive: () => child.exitCode === null && child.signalCode === null,
    async stop() {
      child.kill('SIGTERM')
      const status = await Promise.race([exited, delay(20_000, 'timeout', { ref: false })])
      if (status === 'timeout') child.kill('SIGKILL')
      if (status !== 0) console.log(readFileSync(join(folder, 'server.log'), 'utf8').slice(-5000))
      rmSync(folder, { recursive: true, force: true })
      return status
    },
  }
  try {
    await waitUntil(async () => (await fetch(url)).ok, 'the server to answer', () => server.isAlive())
    await createStarterModel(url)
  } catch (error) {
    console.log(readFileSync(join(folder, 'server.log'), 'utf8').slice(-5000))
    await server.stop()
    throw error
  }
  return server
}

export async function waitUntil(condition, what, whileTrue = () => true, milliseconds = 20_000) {
  const deadline = Date.now() + milliseconds
  while (Date.now() < deadline && whileTrue()) {
    try {
      if (await condition()) return
    } catch {
      // not yet
    }
    await delay(20)
  }
  throw new Error(`waited in vain for ${what}`)
}

async function createStarterModel(url) {
  const gguf = readFileSync(process.env.CORRAL_MODEL_FILE)
  const digest = `sha256:${createHash('sha256').update(gguf).digest('hex')}`
  const upload = await fetch(`${url}/api/blobs/${digest}`, { method: 'POST', body: gguf })
  if (upload.status !== 201) throw new Error(`upload: ${upload.status} ${await upload.text()}`)
  const created = await fetch(`${url}/api/create`, {
    method: 'POST',
    body: JSON.stringify({ model: MODEL, files: { 'model.gguf': digest }, stream: false }),
  })
  if (!created.ok) throw new Error(`create: ${created.status} ${await created.text()}`)
}
