// The official JavaScript client against the real server with a real model.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Ollama } from 'ollama'
import { MODEL, startServer, waitUntil } from './server.mjs'

const greedy = { temperature: 0, seed: 1 }
const deadline = { timeout: 120_000 }

let server
let ollama
before(async () => {
  server = await startServer()
  ollama = new Ollama({ host: server.url })
}, deadline)
after(async () => {
  if (server) assert.equal(await server.stop(), 0, 'exit status of the server')
}, deadline)

function assertTimings(record) {
  assert.equal(record.done, true)
  for (const field of ['total_duration', 'load_duration', 'prompt_eval_count', 'prompt_eval_duration', 'eval_count', 'eval_duration'])
    assert.ok(Number.isInteger(record[field]) && record[field] > 0, `${field}: ${record[field]}`)
  assert.ok(record.total_duration >= record.eval_duration)
  assert.ok(!Number.isNaN(Date.parse(record.created_at)))
}

async function collect(stream) {
  const records = []
  for await (const record of stream) records.push(record)
  return records
}

describe('chat', deadline, () => {
  const messages = [
    { role: 'system', content: 'You answer with one word.' },
    { role: 'user', content: 'What is the capital of France?' },
  ]

  it('answers as one object', async () => {
    const answer = await ollama.chat({ model: MODEL, messages, options: { ...greedy, num_predict: 24 } })
    assert.equal(answer.model, MODEL)
    assert.equal(answer.message.role, 'assistant')
    assert.match(answer.message.content, /Paris/)
    assert.ok(['stop', 'length'].includes(answer.done_reason))
    assertTimings(answer)
  })

  it('streams the same answer piece by piece', async () => {
    const whole = await ollama.chat({ model: MODEL, messages, options: { ...greedy, num_predict: 24 } })
    const records = await collect(await ollama.chat({ model: MODEL, messages, stream: true, options: { ...greedy, num_predict: 24 } }))
    assert.ok(records.length > 1)
    assert.deepEqual(records.slice(0, -1).map((record) => record.done), records.slice(0, -1).map(() => false))
    assertTimings(records.at(-1))
    assert.equal(records.map((record) => record.message.content).join(''), whole.message.content)
  })

  it('keeps to num_predict and says length', async () => {
    const answer = await ollama.chat({ model: MODEL, messages: [{ role: 'user', content: 'Tell me a long story.' }], options: { ...greedy, num_predict: 5 } })
    assert.equal(answer.eval_count, 5)
    assert.equal(answer.done_reason, 'length')
  })

  it('stops at a stop string and does not show it', async () => {
    const answer = await ollama.chat({ model: MODEL, messages, options: { ...greedy, num_predict: 24, stop: ['ris'] } })
    assert.ok(!answer.message.content.includes('ris'), answer.message.content)
    assert.equal(answer.done_reason, 'stop')
  })

  it('answers an unknown model with an error', async () => {
    await assert.rejects(ollama.chat({ model: 'nothing-here', messages }), (error) => {
      assert.equal(error.status_code, 404)
      assert.match(error.message, /model 'nothing-here' not found/)
      return true
    })
  })
})

describe('generate', deadline, () => {
  it('answers as one object, with a context', async () => {
    const answer = await ollama.generate({ model: MODEL, prompt: 'Say hello.', options: { ...greedy, num_predict: 16 } })
    assert.match(answer.response, /\w/)
    assert.ok(answer.context.length >= answer.prompt_eval_count)
    assertTimings(answer)
  })

  it('streams', async () => {
    const records = await collect(await ollama.generate({ model: MODEL, prompt: 'Count to ten.', stream: true, options: { ...greedy, num_predict: 16 } }))
    assert.ok(records.length > 2)
    assertTimings(records.at(-1))
    assert.match(records.map((record) => record.response).join(''), /\w/)
  })

  it('repeats itself with the same seed', async () => {
    const ask = () => ollama.generate({ model: MODEL, prompt: 'Name an animal.', options: { seed: 7, temperature: 1, num_predict: 12 } })
    assert.equal((await ask()).response, (await ask()).response)
  })

  it('loads with an empty prompt', async () => {
    const answer = await ollama.generate({ model: MODEL, prompt: '' })
    assert.deepEqual([answer.done, answer.done_reason, answer.response], [true, 'load', ''])
  })
})

describe('abort', deadline, () => {
  it('ends a stream in the middle, frees its place, and the server goes on', async () => {
    const single = await startServer({ OLLAMA_NUM_PARALLEL: '1' }) // one place: who comes next must get that of the aborted one
    try {
      const client = new Ollama({ host: single.url })
      const stream = await client.generate({ model: MODEL, prompt: 'one two three one two three', raw: true, stream: true, options: { ...greedy, num_predict: 4000, num_ctx: 8192, stop: [] } })
      let seen = 0
      await assert.rejects(async () => {
        for await (const record of stream) {
          assert.equal(record.done, false)
          if (++seen === 3) stream.abort()
        }
      }, { name: 'AbortError' })
      assert.ok(seen >= 3)
      const answer = await client.generate({ model: MODEL, prompt: 'Say hello.', options: { ...greedy, num_predict: 4 } })
      assert.equal(answer.done, true)
      const metrics = await (await fetch(`${single.url}/metrics`)).text()
      const generated = Number(/^corral_tokens_generated_total (\d+)/m.exec(metrics)[1])
      assert.ok(generated > 0 && generated < 2000, `${generated} tokens: the aborted answer went on`)
    } finally {
      assert.equal(await single.stop(), 0)
    }
  })

  it('aborts all requests of a client', async () => {
    const other = new Ollama({ host: server.url })
    const streams = await Promise.all(
      [1, 2].map(() => other.generate({ model: MODEL, prompt: 'one two three', raw: true, stream: true, options: { num_predict: 4000, stop: [] } })),
    )
    const ends = streams.map((stream) => collect(stream))
    other.abort()
    for (const end of await Promise.allSettled(ends)) assert.equal(end.status, 'rejected')
    assert.equal((await fetch(server.url)).status, 200)
  })
})

describe('models', deadline, () => {
  it('lists', async () => {
    const { models } = await ollama.list()
    const model = models.find((entry) => entry.name === MODEL)
    assert.ok(model, JSON.stringify(models))
    assert.match(model.digest, /^[0-9a-f]{64}$/)
    assert.ok(model.size > 98_000_000)
    assert.equal(model.details.format, 'gguf')
    assert.equal(model.details.family, 'llama')
  })

  it('shows', async () => {
    const shown = await ollama.show({ model: MODEL })
    assert.equal(shown.details.family, 'llama')
    assert.match(shown.details.parameter_size, /^13\d(\.\d+)?M$/)
    assert.equal(shown.details.quantization_level, 'Q4_1')
    assert.ok(shown.capabilities.includes('completion'))
    assert.match(shown.modelfile, /^FROM /m)
    assert.equal(shown.model_info['general.architecture'], 'llama')
  })

  it('shows what runs, and for how long', async () => {
    await ollama.generate({ model: MODEL, prompt: 'Say hello.', keep_alive: '10m', options: { num_predict: 1 } })
    const { models } = await ollama.ps()
    assert.deepEqual(models.map((model) => model.name), [MODEL])
    assert.ok(models[0].size > 0)
    const minutes = (Date.parse(models[0].expires_at) - Date.now()) / 60_000
    assert.ok(minutes > 8 && minutes < 11, `expires in ${minutes} minutes`)
  })

  it('unloads with keep_alive 0', async () => {
    const answer = await ollama.generate({ model: MODEL, prompt: '', keep_alive: 0 })
    assert.equal(answer.done_reason, 'unload')
    await waitUntil(async () => (await ollama.ps()).models.length === 0, 'ps to be empty')
  })

  it('embeds on a chat model', async () => {
    const { embeddings } = await ollama.embed({ model: MODEL, input: ['A cat sleeps.', 'A cat is sleeping.', 'Stock prices fell sharply.'] })
    assert.deepEqual(embeddings.map((vector) => vector.length), [576, 576, 576])
    const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0)
    for (const vector of embeddings) assert.ok(Math.abs(dot(vector, vector) - 1) < 1e-3, 'not of length 1')
    assert.ok(dot(embeddings[0], embeddings[1]) > dot(embeddings[0], embeddings[2]), 'like texts are no closer than unlike ones')
    const { embedding } = await ollama.embeddings({ model: MODEL, prompt: 'A cat sleeps.' })
    assert.equal(embedding.length, 576)
  })

  it('creates from a model, and the new one has its own system prompt', async () => {
    const records = await collect(
      await ollama.create({ model: 'pirate', from: MODEL, system: 'You are a pirate.', parameters: { temperature: 0, num_predict: 8 }, stream: true }),
    )
    assert.equal(records.at(-1).status, 'success')
    const shown = await ollama.show({ model: 'pirate' })
    assert.equal(shown.system, 'You are a pirate.')
    assert.match(shown.parameters, /num_predict\s+8/)
    const answer = await ollama.chat({ model: 'pirate', messages: [{ role: 'user', content: 'Who are you?' }] })
    assert.ok(answer.eval_count <= 8)
  })

  it('copies and deletes', async () => {
    await ollama.copy({ source: MODEL, destination: 'copied:v1' })
    const names = async () => (await ollama.list()).models.map((model) => model.name)
    assert.ok((await names()).includes('copied:v1'))
    await ollama.delete({ model: 'copied:v1' })
    assert.ok(!(await names()).includes('copied:v1'))
    assert.ok((await names()).includes(MODEL), 'the original is gone')
    await assert.rejects(ollama.delete({ model: 'copied:v1' }), /not found/)
  })

  it('says its version', async () => {
    assert.match((await ollama.version()).version, /^\d+\.\d+\.\d+/)
  })
})
