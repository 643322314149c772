// The call tree that data.rs wrote, with what drawing and asking need. Nodes are numbers; each stands
// before what is below it.
class Tree {
  constructor(data) {
    const size = data.depth.length;
    this.size = size;
    this.waits = data.waits;
    this.functions = data.functions.map(([name, style, place]) => ({ name, style, place }));
    this.depth = data.depth;
    this.of = data.function;
    this.own = { count: data.count, nanos: data.nanos };
    this.count = Float64Array.from(data.count);
    this.nanos = Float64Array.from(data.nanos);
    this.parent = new Int32Array(size).fill(-1);
    this.end = new Int32Array(size); // Behind the last node below.
    this.frames = new Float64Array(size).fill(1); // With those below and those left out.
    this.missing = data.missing.length > 0;
    for (const [node, frames, count, nanos] of data.missing) {
      this.frames[node] += frames;
      this.count[node] += count;
      this.nanos[node] += nanos;
    }
    this.connect();
    this.weight = this.waits ? this.nanos : this.count;
    this.place();
  }

  connect() {
    const path = [];
    for (let node = 0; node < this.size; node++) {
      path[this.depth[node]] = node;
      if (node > 0) this.parent[node] = path[this.depth[node] - 1];
    }
    for (let node = this.size - 1; node >= 0; node--) {
      this.end[node] = Math.max(this.end[node], node + 1);
      const parent = this.parent[node];
      if (parent < 0) continue;
      this.end[parent] = Math.max(this.end[parent], this.end[node]);
      for (const sum of [this.count, this.nanos, this.frames]) sum[parent] += sum[node];
    }
  }

  // Where each node begins, in the unit of its weight: siblings in their order, then what was the
  // parent's own.
  place() {
    this.start = new Float64Array(this.size);
    const next = new Float64Array(this.size);
    for (let node = 1; node < this.size; node++) {
      const parent = this.parent[node];
      this.start[node] = next[parent];
      next[node] = next[parent];
      next[parent] += this.weight[node];
    }
  }

  name(node) {
    return this.functions[this.of[node]].name;
  }

  // How much of all lies in or below functions that `hit` tells; what recursion holds counts once.
  held(hit) {
    let sum = 0;
    for (let node = 0; node < this.size;) {
      if (hit(this.of[node])) {
        sum += this.weight[node];
        node = this.end[node];
      } else {
        node++;
      }
    }
    return sum;
  }

  amount(count, nanos) {
    const number = format(count);
    if (!this.waits) {
      return `${number} ${count === 1 ? 'sample' : 'samples'}, ${duration(nanos)} of CPU time`;
    }
    const mean = count > 1 ? `, ${duration(nanos / count)} each` : '';
    return `${duration(nanos)} in ${number} ${count === 1 ? 'wait' : 'waits'}${mean}`;
  }

  // What is to know about a node, a line each: name, place, amounts, shares.
  describe(node) {
    const { name, place } = this.functions[this.of[node]];
    const lines = [name];
    if (place) lines.push(place);
    lines.push(this.amount(this.count[node], this.nanos[node]));
    const parent = this.parent[node];
    let shares = `${share(this.weight[node], this.weight[0])} of all`;
    if (parent >= 0) {
      shares += `, ${share(this.weight[node], this.weight[parent])} of ${shorten(this.name(parent), 40)}`;
    }
    lines.push(shares);
    const own = (this.waits ? this.own.nanos : this.own.count)[node];
    if (own > 0) lines.push(`${share(own, this.weight[0])} of all in itself`);
    return lines;
  }
}

function format(number) {
  return number.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

function duration(nanos) {
  const units = [[1e9, 's'], [1e6, 'ms'], [1e3, '\u00b5s'], [1, 'ns']];
  const [size, unit] = units.find(([size]) => nanos >= size) ?? units[3];
  const value = nanos / size;
  const places = size === 1 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(places)).toLocaleString('en-US')} ${unit}`;
}

function share(part, whole) {
  const percent = (100 * part) / (whole || 1);
  if (percent === 0) return '0%';
  if (percent < 0.01) return '<0.01%';
  return `${percent.toFixed(percent < 0.1 ? 2 : 1)}%`;
}

function shorten(text, longest) {
  const characters = Array.from(text);
  return characters.length > longest ? `${characters.slice(0, longest - 2).join('')}..` : text;
}
