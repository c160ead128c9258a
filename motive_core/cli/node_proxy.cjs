// Preloaded into Node (NODE_OPTIONS=--require) by `motive exec` and `motive env`: makes Node's own HTTPS clients go by
// HTTPS_PROXY.
//
// fetch() goes by no proxy variable before Node 22.21 and 24.5; agents that an app makes itself, and http2.connect(),
// do not in any version. Only sockets are opened here, by CONNECT: what is said on them stays Node's business. Needs no
// package, and no syntax that is newer than Node 12. Clients that choose a proxy themselves are left alone.
'use strict';

const http = require('http');
const https = require('https');
const net = require('net');
const tls = require('tls');

const CONNECT_TIMEOUT_MS = 60000;
const DISPATCHER = Symbol.for('undici.globalDispatcher.1'); // that of fetch(), and of the package undici
const LOADED = Symbol.for('motive.node_proxy');

const environment = (name) => process.env[name] || process.env[name.toUpperCase()] || '';
const proxies = { 'https:': proxyOf(environment('https_proxy')), 'http:': proxyOf(environment('http_proxy')) };
const exceptions = environment('no_proxy').split(/[\s,]+/).filter(Boolean).map((one) => one.toLowerCase());

function proxyOf(text) {
  try {
    const url = new URL(text);
    return url.protocol === 'http:' ? url : null;
  } catch (_) {
    return null;
  }
}

const bare = (host) => String(host).toLowerCase().replace(/^\[|\]$/g, '').replace(/\.$/, '');

// As curl, Go and Python read NO_PROXY: a name stands for its subdomains, too.
function isException(host, port) {
  return exceptions.some((one) => {
    const ported = net.isIP(one) === 6 ? null : /^(.*):(\d+)$/.exec(one);
    if (ported && ported[2] !== String(port)) return false;
    const name = bare(ported ? ported[1] : one).replace(/^\*?\./, '');
    return name === '*' || bare(host) === name || bare(host).endsWith('.' + name);
  });
}

const proxyFor = (protocol, host, port) => (isException(host, port) ? null : proxies[protocol]);

// Calls back with a socket behind which the target is.
function open(proxy, host, port, callback) {
  const authority = (net.isIP(bare(host)) === 6 ? `[${bare(host)}]` : bare(host)) + ':' + port;
  const headers = { host: authority };
  if (proxy.username) {
    const pair = decodeURIComponent(proxy.username) + ':' + decodeURIComponent(proxy.password);
    headers['proxy-authorization'] = 'Basic ' + Buffer.from(pair).toString('base64');
  }
  const request = http.request({
    method: 'CONNECT',
    path: authority,
    headers,
    createConnection: () => net.connect({ host: bare(proxy.hostname), port: proxy.port || 80 }), // by no agent, so by no proxy
  });
  let done = false;
  const end = (error, socket) => {
    if (done) return;
    done = true;
    callback(error, socket);
  };
  request.setTimeout(CONNECT_TIMEOUT_MS, () => request.destroy(new Error(`the proxy ${proxy.host} does not answer`)));
  request.on('connect', (response, socket, head) => {
    socket.setTimeout(0);
    if (response.statusCode !== 200) {
      socket.destroy();
      end(new Error(`the proxy ${proxy.host} answered ${response.statusCode} to CONNECT ${authority}`));
      return;
    }
    if (head.length) socket.unshift(head);
    end(null, socket);
  });
  request.on('response', (response) => {
    request.destroy();
    end(new Error(`${proxy.host} is no proxy: it answered ${response.statusCode} to CONNECT`));
  });
  request.on('error', (error) => end(error));
  request.end();
}

// fetch(), WebSocket and EventSource: the dispatcher that Node has by default, with other sockets.
function coverFetch() {
  void globalThis.Response; // Node loads its fetch with that
  const direct = globalThis[DISPATCHER];
  // Another one is of Node's own support of the variables, or of the app.
  if (!direct || direct.constructor.name !== 'Agent') return;

  function connect(options, callback) {
    const secure = options.protocol === 'https:';
    const port = options.port || (secure ? 443 : 80);
    open(proxies[options.protocol], options.hostname, port, (error, socket) => {
      if (error || !secure) {
        callback(error, socket);
        return;
      }
      const host = bare(options.hostname);
      const servername = options.servername || (net.isIP(host) ? undefined : host);
      const tlsSocket = tls.connect({ socket, host, servername, ALPNProtocols: ['http/1.1'] });
      const failed = (why) => callback(why);
      tlsSocket.once('error', failed);
      tlsSocket.once('secureConnect', () => {
        tlsSocket.removeListener('error', failed);
        callback(null, tlsSocket);
      });
    });
  }

  class ByProxy extends direct.constructor {
    dispatch(options, handler) {
      let url;
      try {
        url = new URL(options.origin);
      } catch (_) {
        return direct.dispatch(options, handler);
      }
      const port = url.port || (url.protocol === 'https:' ? 443 : 80);
      if (!proxyFor(url.protocol, url.hostname, port)) return direct.dispatch(options, handler);
      return super.dispatch(options, handler);
    }
  }

  globalThis[DISPATCHER] = new ByProxy({ connect });
}

// https.request() and all that is made of it, with whatever agent of Node's own.
function coverHttps() {
  const original = https.Agent.prototype.createConnection;
  https.Agent.prototype.createConnection = function createConnection(options, callback) {
    const known = options !== null && typeof options === 'object' && typeof callback === 'function';
    const proxy = known && !options.socketPath && !options.socket && !(this.options && this.options.proxyEnv)
      ? proxyFor('https:', options.host || 'localhost', options.port || 443)
      : null;
    if (!proxy) return original.apply(this, arguments);
    open(proxy, options.host || 'localhost', options.port || 443, (error, socket) => {
      if (error) {
        callback(error);
        return;
      }
      let secure;
      try {
        secure = original.call(this, Object.assign({}, options, { socket }));
      } catch (why) {
        socket.destroy();
        callback(why);
        return;
      }
      callback(null, secure);
    });
    return undefined;
  };
}

// http2.connect(), as the AWS SDK has it for Bedrock. It wants its socket at once.
function coverHttp2() {
  const http2 = require('http2');
  const { Duplex } = require('stream');
  const original = http2.connect;

  class Tunnel extends Duplex {
    constructor(proxy, host, port) {
      super({ allowHalfOpen: true });
      this.opened = (callback) => open(proxy, host, port, callback);
      this.inner = null;
    }

    _construct(callback) {
      this.opened((error, socket) => {
        if (error) {
          callback(error);
          return;
        }
        this.inner = socket;
        socket.on('data', (chunk) => {
          if (!this.push(chunk)) socket.pause();
        });
        socket.on('end', () => this.push(null));
        socket.on('error', (why) => this.destroy(why));
        socket.on('close', () => this.destroy());
        callback();
      });
    }

    _read() {
      this.inner.resume();
    }

    _write(chunk, encoding, callback) {
      this.inner.write(chunk, encoding, callback);
    }

    _final(callback) {
      this.inner.end(callback);
    }

    _destroy(error, callback) {
      if (this.inner) this.inner.destroy();
      callback(error);
    }
  }

  http2.connect = function connect(authority, options, listener) {
    if (typeof options === 'function') {
      listener = options;
      options = undefined;
    }
    let url = authority;
    try {
      if (typeof authority === 'string') url = new URL(authority);
    } catch (_) {
      return original(authority, options, listener);
    }
    const host = bare((url && (url.hostname || url.host)) || 'localhost');
    const port = (url && url.port) || 443;
    const own = options && (options.createConnection || options.socket || options.socketPath);
    const protocol = (url && url.protocol) || (options && options.protocol) || 'https:';
    const proxy = own || protocol !== 'https:' ? null : proxyFor('https:', host, port);
    if (!proxy) return original(authority, options, listener);
    const createConnection = (_, given) =>
      tls.connect(Object.assign(
        { ALPNProtocols: given && given.allowHTTP1 ? ['h2', 'http/1.1'] : ['h2'] },
        net.isIP(host) ? {} : { servername: host },
        given,
        { host, port, createConnection: undefined, socket: new Tunnel(proxy, host, port) },
      ));
    return original(authority, Object.assign({}, options, { createConnection }), listener);
  };
}

if (!globalThis[LOADED] && (proxies['https:'] || proxies['http:'])) {
  Object.defineProperty(globalThis, LOADED, { value: true });
  for (const cover of [coverFetch, coverHttps, coverHttp2]) {
    try {
      cover();
    } catch (error) {
      process.emitWarning(`some calls will not go by the proxy: ${error && error.message}`, 'MotiveWarning');
    }
  }
  const { syncBuiltinESMExports } = require('module');
  if (syncBuiltinESMExports) syncBuiltinESMExports();
}
