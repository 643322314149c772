// node check.mjs CHECK DIRECTORY: opens files there in headless Chromium and looks at what a user sees.
// Exits with 1 and says what is wrong. SHOTS=DIRECTORY keeps pictures.
import { writeFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import assert from 'node:assert/strict';
import { Browser } from './chromium.mjs';

const [what, directory] = process.argv.slice(2);
const url = (name) => pathToFileURL(join(directory, name)).href;

async function shot(page, name) {
  if (!process.env.SHOTS) return;
  const { data } = await page.send('Page.captureScreenshot', { format: 'png' });
  writeFileSync(join(process.env.SHOTS, `${name}.png`), Buffer.from(data, 'base64'));
}

// What the page shows: its frames, the toolbar, the tooltip.
function look(page, root = 'html, svg') {
  return page.ask((root) => {
    const top = document.querySelector(root);
    const box = (it) => {
      const { left, top, right, bottom, width, height } = it.getBoundingClientRect();
      return { left, top, right, bottom, width, height };
    };
    const frames = Array.from(top.querySelectorAll('.frame'), (it) => {
      const text = it.querySelector('text');
      return {
        label: it.getAttribute('aria-label'),
        name: it.getAttribute('aria-label').split(', ')[0],
        box: box(it.querySelector('rect')),
        fill: getComputedStyle(it.querySelector('rect')).fill,
        text: text && { shown: text.textContent, box: box(text), fill: getComputedStyle(text).fill },
        hit: it.classList.contains('hit'),
      };
    });
    const tip = top.querySelector('.tip');
    const reset = top.querySelector('.toolbar button');
    return {
      frames,
      matched: top.querySelector('.matched').textContent,
      narrow: top.querySelector('.narrow').textContent,
      reset: !reset.disabled && box(reset),
      tip: getComputedStyle(tip).visibility === 'visible' &&
        { box: box(tip), lines: Array.from(tip.querySelectorAll('text'), (it) => it.textContent) },
      focus: document.activeElement?.getAttribute('aria-label'),
      page: { width: document.documentElement.scrollWidth, height: innerHeight },
    };
  }, root);
}

const middle = ({ left, top, width, height }) => [left + width / 2, top + height / 2];

// The first frame of that name.
async function find(page, name, root) {
  const seen = await look(page, root);
  const frame = seen.frames.find((it) => it.name === name);
  assert(frame, `no frame ${name}: ${seen.frames.map((it) => it.name)}`);
  return frame;
}

const centre = async (page, name, root) => middle((await find(page, name, root)).box);

function luminance(colour) {
  const parts = colour.match(/[\d.]+/g).slice(0, 3).map((it) => it / 255);
  const linear = parts.map((it) => (it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

// WCAG's ratio: 4.5 is readable.
function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

// Every text lies in its frame, is large enough and stands out; frames of a row do not overlap.
function readable(seen, least) {
  const texts = seen.frames.filter((it) => it.text);
  assert(texts.length >= least, `${texts.length} texts, of ${least}`);
  for (const { name, box, fill, text } of texts) {
    const what = `${name}: ${JSON.stringify({ box, text })}`;
    assert(text.box.left >= box.left && text.box.right <= box.right, what);
    assert(text.box.top >= box.top - 0.5 && text.box.bottom <= box.bottom + 0.5, what);
    assert(text.box.height >= 10, what);
    assert(contrast(fill, text.fill) >= 4.5, `${what}: ${fill} on ${text.fill}`);
    const start = text.shown.replace(/\.\.$/, '');
    assert(start.length >= 1 && (name.startsWith(start) || start.includes(', ')), what);
  }
  const sorted = [...seen.frames].sort((a, b) => a.box.top - b.box.top || a.box.left - b.box.left);
  sorted.forEach((it, index) => {
    const next = sorted[index + 1];
    if (next && next.box.top === it.box.top) {
      assert(it.box.right <= next.box.left + 0.5, `${it.name} overlaps ${next.name}`);
    }
  });
}

const silent = (page) => assert.deepEqual(page.complaints, []);
const names = (seen) => seen.frames.map((it) => it.name);

// Tooltip, zoom and its ways back, search: what flames and icicle have in common.
async function use(page, price) {
  await page.move(await centre(page, 'price'));
  let seen = await look(page);
  assert.deepEqual(seen.tip.lines, price);
  assert(seen.tip.box.bottom <= seen.page.height && seen.tip.box.right <= seen.page.width);
  const before = names(seen);
  const width = (await find(page, 'all')).box.width;

  await page.click(await centre(page, 'price'));
  seen = await look(page);
  assert.equal(Math.round((await find(page, 'price')).box.width), Math.round(width));
  assert(Math.abs((await find(page, 'discount')).box.width - 0.4 * width) < 2);
  assert(names(seen).includes('handle') && !names(seen).includes('query'), names(seen));
  assert.equal(seen.narrow, '');
  readable(seen, 10);

  const back = {
    button: async () => page.click(middle((await look(page)).reset)),
    root: async () => page.click(await centre(page, 'all')),
    escape: () => page.press('Escape'),
  };
  for (const [way, go] of Object.entries(back)) {
    await go();
    seen = await look(page);
    assert.deepEqual(names(seen), before, way);
    assert.equal(seen.reset, false, way);
    await page.click(await centre(page, 'price'));
  }
  await back.escape();
  await page.move([1, 1]);
  assert.equal((await look(page)).tip, false);

  // A frame too narrow to be drawn is there after zooming.
  assert.equal((await look(page)).narrow, '20 too narrow to show');
  await page.click(await centre(page, 'worker::run'));
  assert(names(await look(page)).includes('thin_7'));
  await back.escape();
}

async function search(page) {
  const hits = (seen) => [...new Set(seen.frames.filter((it) => it.hit).map((it) => it.name))].sort();
  await page.press('/');
  // `price` 30 percent, `handle` has it in it; `tcp_` 11 percent; the nested do not count twice.
  await page.type('^PRICE$|^tcp_');
  assert.deepEqual(hits(await look(page)), ['tcp_recvmsg', 'tcp_sendmsg', 'tcp_write_xmit']);
  assert.equal((await look(page)).matched, '11.0% matched');
  await page.press('Escape');
  assert.deepEqual(hits(await look(page)), []);
  assert.equal((await look(page)).matched, '');
  await page.type('^price$|discount|^tcp_');
  const seen = await look(page);
  assert.deepEqual(hits(seen), ['discount', 'price', 'tcp_recvmsg', 'tcp_sendmsg', 'tcp_write_xmit']);
  assert.equal(seen.matched, '41.0% matched');
  readable(seen, 20);
  // Marks stay while zooming.
  await page.click(await centre(page, 'query'));
  assert.deepEqual(hits(await look(page)), ['tcp_recvmsg', 'tcp_sendmsg', 'tcp_write_xmit']);
  await page.press('Escape');
  await page.press('/');
  await page.type('(');
  assert.equal((await look(page)).matched, 'not a regular expression');
  await page.press('Escape');
}

// By keys alone, from the frame that Tab leads to.
async function keys(page, inwards, outwards) {
  await page.press('/');
  const at = async () => (await look(page)).focus?.split(', ')[0];
  for (let tabs = 0; tabs < 5 && (await at()) !== 'all'; tabs += 1) await page.press('Tab');
  assert.equal(await at(), 'all');
  const path = [];
  for (const key of [inwards, inwards, 'ArrowRight', inwards, outwards, 'ArrowLeft']) {
    await page.press(key);
    path.push(await at());
  }
  assert.deepEqual(path, ['shop (pid 4242)', '_start', 'clone3', 'start_thread', 'clone3', '_start']);
  await page.press('ArrowRight');
  assert.equal((await look(page)).tip.lines[0], 'clone3');
  await page.press('Enter');
  assert(!names(await look(page)).includes('_start'));
  assert.equal(await at(), 'clone3');
  await page.press('Escape');
  assert(names(await look(page)).includes('_start'));
}

// A tall picture opens at its root and keeps it in view; so it does the heading, wherever one scrolls.
async function sticks(page) {
  const { height } = (await look(page)).page;
  const inView = async (name) => {
    const { box } = await find(page, name);
    assert(box.top > 104 && box.bottom <= height, `${name}: ${JSON.stringify(box)}`);
  };
  await inView('all');
  await page.move(await centre(page, 'all'));
  const { tip } = await look(page);
  assert(tip.box.top >= 0 && tip.box.bottom <= height, JSON.stringify(tip));
  // Lower without the deep stack, then tall again.
  await page.click(await centre(page, 'serve'));
  await inView('all');
  await page.click(middle((await look(page)).reset));
  await inView('all');
  for (const place of [0, 500]) {
    await page.ask((place) => window.scrollTo(0, place), place);
    await page.settle();
    await page.click([200, 76]);
    assert.match((await look(page)).focus, /^Search/, `at ${place}`);
    await page.ask(() => document.activeElement.blur());
  }
}

const PRICE = {
  cpu: ['price', '/usr/bin/shop', '3,000 samples, 30.3 s of CPU time', '30.0% of all, 36.1% of handle', '18.0% of all in itself'],
  waits: ['price', '/usr/bin/shop', '30.3 s in 3,000 waits, 10.1 ms each', '30.0% of all, 36.1% of handle', '18.0% of all in itself'],
};

const checks = {
  async svg(browser) {
    for (const scheme of ['light', 'dark']) {
      const page = await browser.page(url('shop.svg'), { scheme });
      await shot(page, `svg-${scheme}`);
      const seen = await look(page);
      readable(seen, 40);
      const [all, handle] = [await find(page, 'all'), await find(page, 'handle')];
      assert(all.box.top > handle.box.top, 'the root is at the bottom');
      if (scheme === 'dark') assert(luminance(all.fill) < 0.2, all.fill);
      await use(page, PRICE.cpu);
      await search(page);
      await keys(page, 'ArrowUp', 'ArrowDown');
      silent(page);
    }
    const page = await browser.page(url('shop.svg'));
    for (const width of [600, 1900]) {
      await page.size(width, 800);
      await page.settle();
      const seen = await look(page);
      assert(seen.page.width <= width);
      assert(Math.abs((await find(page, 'all')).box.width - (width - 20)) < 2);
      readable(seen, 20);
    }
    silent(page);
  },

  async html(browser) {
    for (const scheme of ['light', 'dark']) {
      const page = await browser.page(url('shop.html'), { scheme });
      await shot(page, `html-${scheme}`);
      readable(await look(page), 40);
      const [all, handle] = [await find(page, 'all'), await find(page, 'handle')];
      assert(all.box.top < handle.box.top, 'the root is on top');
      if (scheme === 'dark') assert(luminance(all.fill) < 0.2, all.fill);
      await use(page, PRICE.waits);
      await search(page);
      await keys(page, 'ArrowDown', 'ArrowUp');
      silent(page);
    }
    const page = await browser.page(url('shop.html'));
    const rows = () => page.ask(() => Array.from(document.querySelectorAll('tbody tr'), (row) =>
      Array.from(row.cells, (it) => it.textContent.replace(/\s+/g, ' ').trim())));
    const place = (selector) => page.ask((selector) => {
      const it = document.querySelector(selector);
      it.scrollIntoView({ block: 'center' });
      const { left, top, height } = it.getBoundingClientRect();
      return [left + 12, top + height / 2];
    }, selector);
    const header = (column) => `th:nth-child(${column}) button`;
    assert.deepEqual((await rows())[0], ['18.2 s 18.0%', '30.3 s 30.0%', 'price', '/usr/bin/shop']);
    await page.click(await place(header(2)));
    assert.deepEqual((await rows()).slice(0, 3).map((it) => it[1]), ['86.9 s 86.0%', '86.9 s 86.0%', '86.9 s 86.0%']);
    await page.click(await place(header(3)));
    assert.equal((await rows())[0][2], '__ip_queue_xmit');
    await page.click(await place(header(3)));
    assert.equal((await rows())[0][2], 'zlib::deflate');
    assert.equal((await rows()).filter((it) => it[2].startsWith('thin')).length, 20);
    await page.click(await place('tbody tr td button'));
    assert.deepEqual((await rows()).map((it) => it[2]), ['zlib::deflate']);
    assert.equal((await look(page)).matched, '8.0% matched');
    silent(page);
  },

  async embedded(browser) {
    const svg = readFileSync(join(directory, 'shop.svg'), 'utf8');
    const inline = svg.replace(/^<\?xml.*\?>/, '');
    const write = (name, body) => writeFileSync(join(directory, name), `<!DOCTYPE html><title>x</title>${body}`);
    write('inline.html', `<div id="one">${inline}</div><div id="two">${inline}</div>`);
    const page = await browser.page(url('inline.html'), { height: 1200 });
    await page.click(await centre(page, 'price', '#two'));
    assert(!names(await look(page, '#two')).includes('query'));
    assert(names(await look(page, '#one')).includes('query'));
    readable(await look(page, '#one'), 40);
    silent(page);

    for (const tag of ['iframe src', 'object data']) {
      write('framed.html', `<${tag}="shop.svg" width="900" height="500"></${tag.split(' ')[0]}>`);
      const framed = await browser.page(url('framed.html'));
      const inside = await framed.inside('shop.svg');
      const [x, y] = await centre(inside, 'price');
      await framed.click([x + 8, y + 8]);
      await inside.settle();
      assert(!names(await look(inside)).includes('query'), tag);
      silent(framed);
    }

    write('picture.html', '<img src="shop.svg">');
    const picture = await browser.page(url('picture.html'));
    await shot(picture, 'picture');
    const size = await picture.ask(() => {
      const it = document.querySelector('img');
      return [it.complete, it.naturalWidth, it.naturalHeight];
    });
    assert.deepEqual(size, [true, 1200, 402]);
    silent(picture);
  },

  async hostile(browser) {
    for (const name of ['hostile.svg', 'hostile.html']) {
      const page = await browser.page(url(name));
      await shot(page, name);
      const seen = await look(page);
      readable(seen, 12);
      for (const text of ['</script><script>alert(1)</script>', '<!-- &amp; &#0; \\u0000 \\', '[unnamed]']) {
        await page.move(await centre(page, text));
        const { tip } = await look(page);
        assert.equal(tip.lines[0], text);
        assert.equal(tip.lines[1], ']]></metadata></svg><img src=x onerror=alert(1)>');
      }
      const long = seen.frames.find((it) => it.name.startsWith('xxxx'));
      await page.move(middle(long.box));
      const { tip, page: { width, height } } = await look(page);
      assert(tip.box.left >= 0 && tip.box.right <= width && tip.box.bottom <= height, JSON.stringify(tip));
      const stray = await page.ask(() => document.querySelectorAll('img, [onload], [onerror]').length);
      assert.equal(stray, 0);
      silent(page);
    }
  },

  async sizes(browser) {
    for (const name of ['empty.svg', 'empty.html']) {
      const page = await browser.page(url(name));
      await shot(page, name);
      assert.deepEqual(names(await look(page)), ['all']);
      await page.click(await centre(page, 'all'));
      silent(page);
    }
    for (const name of ['large.svg', 'large.html']) {
      const page = await browser.page(url(name), { height: 900 });
      await shot(page, name);
      readable(await look(page), 100);
      const seen = await look(page);
      assert.match(seen.narrow, /^\d+,\d+ too narrow to show$/);
      assert(seen.frames.every((it) => it.box.width >= 0.29), 'nothing narrower is drawn');
      if (name.endsWith('.svg')) await sticks(page);
      await page.ask((name) => {
        const labels = Array.from(document.querySelectorAll('.frame'));
        labels.find((it) => it.getAttribute('aria-label').startsWith(`${name}, `)).scrollIntoView();
      }, 'level_120');
      await page.move(await centre(page, 'level_120'));
      const { tip, page: { height } } = await look(page);
      assert.equal(tip.lines[0], 'level_120');
      assert(tip.box.top >= 0 && tip.box.bottom <= height, JSON.stringify(tip));
      await page.click(await centre(page, 'level_120'));
      assert(names(await look(page)).includes('level_0'));
      const { box } = await find(page, 'level_120');
      const head = name.endsWith('.svg') ? 104 : 0;
      assert(box.top >= head && box.bottom <= height, 'what was clicked stays in view');
      silent(page);
    }
  },
};

const browser = await Browser.start();
try {
  await checks[what](browser);
  console.log(`${what}: ok`);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.stop();
}
