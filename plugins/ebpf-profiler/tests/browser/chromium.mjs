// Chromium's DevTools protocol over two pipes: JSON ended by NUL. No socket, no package.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATIENCE = 60_000;

export class Browser {
  static async start() {
    const browser = new Browser();
    await browser.send('Browser.getVersion');
    return browser;
  }

  constructor() {
    this.home = mkdtempSync(join(tmpdir(), 'perigee-chromium-'));
    this.waiting = new Map();
    this.sessions = new Map();
    this.next = 0;
    const options = [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--disable-dev-shm-usage', '--disable-site-isolation-trials', '--hide-scrollbars', '--force-color-profile=srgb',
      `--user-data-dir=${this.home}`, '--remote-debugging-pipe', 'about:blank',
    ];
    const stdio = ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'];
    // A group of its own, so that all its processes can be ended.
    // What it leaves in the temporary directory goes with its home.
    const env = { ...process.env, TMPDIR: this.home };
    this.child = spawn('chromium', options, { stdio, env, detached: true });
    this.said = '';
    this.child.stderr.on('data', (text) => (this.said += text));
    this.child.on('exit', () => this.fail(`chromium ended: ${this.said}`));
    this.child.on('error', (error) => this.fail(String(error)));
    this.timer = setTimeout(() => this.fail(`no answer of chromium: ${this.said}`), PATIENCE);
    let rest = '';
    this.child.stdio[4].setEncoding('utf8').on('data', (text) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      for (const message of messages) this.take(JSON.parse(message));
    });
  }

  fail(why) {
    this.broken = new Error(why);
    for (const { reject } of this.waiting.values()) reject(this.broken);
    for (const page of this.sessions.values()) page.fail(this.broken);
    this.waiting.clear();
  }

  take(message) {
    const { id, error, result, method, params, sessionId } = message;
    if (id === undefined) {
      this.sessions.get(sessionId)?.event(method, params);
      return;
    }
    const asked = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) asked?.reject(new Error(`${asked.method}: ${error.message}`));
    else asked?.resolve(result);
  }

  send(method, params = {}, sessionId = undefined) {
    if (this.broken) return Promise.reject(this.broken);
    const id = (this.next += 1);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, method });
      this.child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  // Opens a page of that width, in the light or the dark, with its scripts run.
  async page(url, { width = 1280, height = 800, scheme = 'light' } = {}) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId);
    this.sessions.set(sessionId, page);
    for (const domain of ['Page', 'Runtime', 'Log']) await page.send(`${domain}.enable`);
    await page.size(width, height);
    const features = [{ name: 'prefers-color-scheme', value: scheme }];
    await page.send('Emulation.setEmulatedMedia', { features });
    const loaded = page.once('Page.loadEventFired');
    await page.send('Page.navigate', { url });
    await loaded;
    await page.settle();
    return page;
  }

  async stop() {
    clearTimeout(this.timer);
    this.child.removeAllListeners('exit');
    if (this.child.pid && this.child.exitCode === null && this.child.signalCode === null) {
      const gone = new Promise((resolve) => this.child.once('exit', resolve));
      process.kill(-this.child.pid, 'SIGKILL');
      await gone;
    }
    rmSync(this.home, { recursive: true, force: true, maxRetries: 10 });
  }
}

class Page {
  constructor(browser, session) {
    Object.assign(this, { browser, session });
    this.expected = new Map();
    this.contexts = []; // Of the documents within it.
    this.complaints = []; // Errors of scripts, dialogs, what a policy refused.
  }

  fail(error) {
    for (const { reject } of this.expected.values()) reject(error);
  }

  event(method, params) {
    if (method === 'Runtime.exceptionThrown') {
      const { text, exception } = params.exceptionDetails;
      this.complaints.push(`${text} ${exception?.description ?? ''}`);
    } else if (method === 'Runtime.executionContextCreated') {
      this.contexts.push(params.context);
    } else if (method === 'Log.entryAdded') {
      this.complaints.push(params.entry.text);
    } else if (method === 'Page.javascriptDialogOpening') {
      this.complaints.push(`dialog: ${params.message}`);
      this.send('Page.handleJavaScriptDialog', { accept: true });
    }
    this.expected.get(method)?.resolve(params);
    this.expected.delete(method);
  }

  once(method) {
    return new Promise((resolve, reject) => this.expected.set(method, { resolve, reject }));
  }

  send(method, params) {
    return this.browser.send(method, params, this.session);
  }

  // The same page, asked inside the frame that shows that file.
  async inside(file) {
    const { frameTree } = await this.send('Page.getFrameTree');
    const frame = frameTree.childFrames.find((it) => it.frame.url.endsWith(file)).frame;
    const context = this.contexts.findLast((it) => it.auxData.frameId === frame.id);
    return Object.assign(Object.create(this), { context });
  }

  // What a function in the page returns; what it is given and returns goes through JSON.
  async ask(run, ...given) {
    const expression = `(${run})(...${JSON.stringify(given)})`;
    const contextId = this.context?.id;
    const options = { expression, contextId, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', options);
    if (exceptionDetails) throw new Error(exceptionDetails.exception.description);
    return result.value;
  }

  // Waits until what was asked for is laid out and drawn.
  settle() {
    return this.ask(() => new Promise((done) => {
      requestAnimationFrame(() => requestAnimationFrame(() => done()));
    }));
  }

  async size(width, height) {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: false };
    await this.send('Emulation.setDeviceMetricsOverride', metrics);
  }

  async move([x, y]) {
    await this.send('Input.dispatchMouseEvent', { type: 'mouseMoved', x, y });
    await this.settle();
  }

  async click([x, y]) {
    await this.move([x, y]);
    const button = { x, y, button: 'left', clickCount: 1 };
    await this.send('Input.dispatchMouseEvent', { type: 'mousePressed', ...button });
    await this.send('Input.dispatchMouseEvent', { type: 'mouseReleased', ...button });
    await this.settle();
  }

  async press(key) {
    const codes = { Enter: 13, Escape: 27, Tab: 9, ArrowUp: 38, ArrowDown: 40, ArrowLeft: 37, ArrowRight: 39 };
    const text = { Enter: '\r' }[key] ?? (key.length === 1 ? key : undefined);
    const event = { key, code: key, text, windowsVirtualKeyCode: codes[key] };
    await this.send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...event });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', key, code: key });
    await this.settle();
  }

  async type(text) {
    await this.send('Input.insertText', { text });
    await this.settle();
  }
}
