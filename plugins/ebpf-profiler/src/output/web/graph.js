// Draws a tree into the element `.frames` of an SVG: flames with the root at the bottom, or an icicle
// with the root on top. Zoom, marks of a search, tooltip and keys.
const SVG = 'http://www.w3.org/2000/svg';
const ROW = 18;
const PAD = 10;
const NARROWEST = 0.3;

class Graph {
  constructor(svg, tree, { upwards, pad, arrange }) {
    Object.assign(this, { svg, tree, upwards, pad, arrange });
    this.zoomed = 0;
    this.current = 0; // Where the keys are.
    this.hits = null; // By function, while something is searched for.
    this.hidden = 0; // Frames too narrow to draw.
    this.drawn = new Map();
    this.width = 0;
    this.listeners = []; // Called when what is shown or searched for has changed.
    this.layer = svg.querySelector('.frames');
    this.layer.setAttribute('role', 'tree');
    this.tip = new Tip(svg);
    this.listen();
  }

  listen() {
    const layer = this.layer;
    const node = (event) => {
      const frame = event.target.closest('[data-node]');
      return frame ? Number(frame.dataset.node) : -1;
    };
    layer.addEventListener('click', (event) => node(event) >= 0 && this.zoom(node(event)));
    layer.addEventListener('pointermove', (event) => {
      if (node(event) < 0) return;
      this.tip.show(this.tree.describe(node(event)), event.clientX, event.clientY);
    });
    layer.addEventListener('pointerleave', () => this.tip.hide());
    layer.addEventListener('keydown', (event) => this.key(event));
    layer.addEventListener('focusin', (event) => {
      if (node(event) < 0) return;
      this.current = node(event);
      if (!event.target.matches(':focus-visible')) return;
      const { left, bottom } = event.target.getBoundingClientRect();
      this.tip.show(this.tree.describe(this.current), left, bottom - 12);
    });
    layer.addEventListener('focusout', () => this.tip.hide());
    new ResizeObserver(() => this.room() !== this.width && this.draw()).observe(this.svg);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  room() {
    return Math.max(200, this.svg.getBoundingClientRect().width - 2 * this.pad);
  }

  zoom(node) {
    this.zoomed = node;
    this.current = node;
    this.tip.hide();
    this.draw();
    // The picture may have grown or shrunk around it.
    this.drawn.get(node).scrollIntoView({ block: 'nearest' });
  }

  // Marks the functions whose name matches, or none.
  search(pattern) {
    this.hits = pattern && this.tree.functions.map((it) => pattern.test(it.name));
    this.mark();
    this.changed();
  }

  // What is visible: the callers of what is zoomed to, and what is below it.
  layout() {
    const { tree, zoomed, width } = this;
    const boxes = [];
    for (let node = tree.parent[zoomed]; node >= 0; node = tree.parent[node]) {
      boxes.unshift({ node, left: 0, width, above: true });
    }
    const above = boxes.length;
    boxes.push({ node: zoomed, left: 0, width });
    const scale = width / (tree.weight[zoomed] || 1);
    for (let node = zoomed + 1; node < tree.end[zoomed];) {
      const wide = tree.weight[node] * scale;
      if (wide < NARROWEST) {
        node = tree.end[node];
      } else {
        boxes.push({ node, left: (tree.start[node] - tree.start[zoomed]) * scale, width: wide });
        node++;
      }
    }
    this.hidden = tree.frames[zoomed] - (boxes.length - above);
    return boxes;
  }

  draw() {
    const focused = this.layer.contains(document.activeElement);
    this.width = this.room();
    const boxes = this.layout();
    const rows = boxes.reduce((most, it) => Math.max(most, this.tree.depth[it.node] + 1), 1);
    const top = this.arrange();
    this.svg.setAttribute('height', top + rows * ROW + PAD);
    this.cell ||= this.measure();
    this.drawn.clear();
    for (const box of boxes) {
      const depth = this.tree.depth[box.node];
      const y = top + (this.upwards ? rows - 1 - depth : depth) * ROW;
      this.drawn.set(box.node, this.frame(box, y));
    }
    this.layer.replaceChildren(...this.drawn.values());
    if (!this.drawn.has(this.current)) this.current = this.zoomed;
    this.drawn.get(this.current).setAttribute('tabindex', '0');
    if (focused) this.drawn.get(this.current).focus();
    this.mark();
    this.changed();
  }

  // Width of a character of the frames' fixed-width font.
  measure() {
    const text = element('text', {}, 'M'.repeat(50));
    this.layer.append(text);
    const cell = text.getComputedTextLength() / 50;
    text.remove();
    return cell;
  }

  frame({ node, left, width, above }, y) {
    const { style } = this.tree.functions[this.tree.of[node]];
    const frame = element('g', {
      class: above ? 'frame above' : 'frame',
      'data-node': node,
      role: 'treeitem',
      tabindex: -1,
      'aria-level': this.tree.depth[node] + 1,
      'aria-label': this.tree.describe(node).join(', '),
    });
    const x = this.pad + left;
    const gap = width > 3 ? 0.6 : 0;
    frame.append(element('rect', { class: style, x, y, width: width - gap, height: ROW - 1 }));
    this.label(frame, node, x + 4, y + 13, width - 8);
    return frame;
  }

  // As much of the name as fits, or nothing.
  label(frame, node, x, y, width) {
    const name = this.tree.name(node);
    const room = Math.floor(width / (this.cell || 7.3));
    if (room < Math.min(4, name.length)) return;
    const text = element('text', { x, y }, shorten(name, room));
    frame.append(text);
    if (/^[\x20-\x7e]*$/.test(name)) return;
    // Other scripts come from other fonts. What is not in the document cannot be measured.
    this.layer.append(text);
    let longest = Math.min(room, Array.from(name).length);
    while (longest > 3 && text.getComputedTextLength() > width) {
      longest -= 1;
      text.textContent = shorten(name, longest);
    }
    if (longest > 3 || text.getComputedTextLength() <= width) frame.append(text);
    else text.remove();
  }

  mark() {
    for (const [node, frame] of this.drawn) {
      frame.classList.toggle('hit', Boolean(this.hits?.[this.tree.of[node]]));
    }
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { tree, current, drawn } = this;
    const [inwards, outwards] = this.upwards ? ['ArrowUp', 'ArrowDown'] : ['ArrowDown', 'ArrowUp'];
    const shown = Array.from(drawn.keys());
    const row = shown.filter((node) => tree.depth[node] === tree.depth[current]);
    const beside = (step) => row[row.indexOf(current) + step];
    const moves = {
      [inwards]: () => shown.find((node) => tree.parent[node] === current),
      [outwards]: () => tree.parent[current],
      ArrowLeft: () => beside(-1),
      ArrowRight: () => beside(1),
      Home: () => 0,
    };
    if (event.key in moves) {
      const frame = drawn.get(moves[event.key]());
      if (frame) this.focus(frame);
    } else if (event.key === 'Enter' || event.key === ' ') {
      this.zoom(current);
    } else if (event.key === 'Escape') {
      this.zoom(0);
    } else {
      return;
    }
    event.preventDefault();
  }

  focus(frame) {
    this.drawn.get(this.current)?.setAttribute('tabindex', '-1');
    frame.setAttribute('tabindex', '0');
    frame.focus();
  }
}

// A box near the pointer that never leaves the picture.
class Tip {
  constructor(svg) {
    this.svg = svg;
    this.group = element('g', { class: 'tip', visibility: 'hidden', 'aria-hidden': 'true' });
    this.back = element('rect', { rx: 4 });
    this.group.append(this.back);
    svg.append(this.group);
  }

  hide() {
    this.group.setAttribute('visibility', 'hidden');
  }

  show([name, ...facts], x, y) {
    const frame = this.svg.getBoundingClientRect();
    const longest = Math.min(90, Math.floor((frame.width - 40) / 7.5));
    const lines = wrap(name, longest, 6);
    const rest = facts.map((it) => shorten(it, longest));
    const texts = [...lines, ...rest].map((line, index) =>
      element('text', { class: index < lines.length ? 'name' : 'fact', x: 8, y: 17 + 17 * index }, line),
    );
    this.group.replaceChildren(this.back, ...texts);
    const wide = 16 + Math.max(...texts.map((it) => it.getComputedTextLength()));
    const high = 10 + 17 * texts.length;
    this.back.setAttribute('width', wide);
    this.back.setAttribute('height', high);
    const bottom = Math.min(window.innerHeight, frame.bottom);
    const below = y + 18 + high <= bottom ? y + 18 : y - high - 8;
    const left = Math.max(0, Math.min(x + 12 - frame.left, frame.width - wide - 2));
    const top = Math.max(0, -frame.top, below - frame.top);
    this.group.setAttribute('transform', `translate(${left} ${top})`);
    this.group.setAttribute('visibility', 'visible');
  }
}

function wrap(text, longest, most) {
  const characters = Array.from(shorten(text, longest * most));
  const lines = [];
  while (characters.length) lines.push(characters.splice(0, longest).join(''));
  return lines;
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
