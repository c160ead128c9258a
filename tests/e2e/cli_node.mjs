// One client of Node's, as an app has it; its name is the argument. Prints what it was answered.
import https from 'node:https';
import { connect } from 'node:http2';

const URL_ = process.argv[3] || 'https://api.openai.com/v1/chat/completions';
const body = JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: 'hi' }] });
const headers = { 'content-type': 'application/json' };
const say = (text) => console.log(JSON.parse(text).choices[0].message.content);

function byHttps(options) {
  const request = https.request(URL_, { method: 'POST', headers, ...options }, (response) => {
    let text = '';
    response.on('data', (piece) => { text += piece; });
    response.on('end', () => say(text));
  });
  request.on('error', (error) => { throw error; });
  request.end(body);
}

const clients = {
  fetch: async () => say(await (await fetch(URL_, { method: 'POST', headers, body })).text()),
  large: async () => {
    const large = JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: 'x'.repeat(2000000) }] });
    say(await (await fetch(URL_, { method: 'POST', headers, body: large })).text());
  },
  many: async () => {
    const asked = Array.from({ length: 20 }, () => fetch(URL_, { method: 'POST', headers, body }));
    const said = await Promise.all((await Promise.all(asked)).map((response) => response.text()));
    say(said[19]);
  },
  https: () => byHttps({}),
  agent: () => byHttps({ agent: new https.Agent({ keepAlive: true }) }),
  'no agent': () => byHttps({ agent: false }),
  http2: () => {
    const session = connect('https://api.openai.com');
    session.on('error', (error) => { throw error; });
    const stream = session.request({ ':method': 'POST', ':path': '/v1/chat/completions', ...headers });
    let text = '';
    stream.on('data', (piece) => { text += piece; });
    stream.on('end', () => { session.close(); say(text); });
    stream.end(body);
  },
};
await clients[process.argv[2]]();
