// The same as busy.c.
'use strict';

function spin(rounds) {
  let value = rounds | 0;
  for (let round = 0; round < rounds; round++) {
    value = (Math.imul(value, 1664525) + round) | 0;
  }
  return value;
}

function hot_seventy(rounds) {
  return spin(7 * rounds) ^ 7;
}

function warm_thirty(rounds) {
  return spin(3 * rounds) ^ 3;
}

function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

// Twice, the first time to have the code compiled.
spin(1e6);
const trial = cpuSeconds();
let result = spin(1e7);
// Turns of a length that the clock's microseconds can tell.
const unit = Math.round(0.0005 / 10 / ((cpuSeconds() - trial) / 1e7));
let [hot, warm, said, random] = [0, 0, 0, 1];
console.log('ready');
for (;;) {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
  const rounds = unit * (1 + (random >>> 29));
  const began = cpuSeconds();
  result ^= hot_seventy(rounds);
  const between = cpuSeconds();
  result ^= warm_thirty(rounds);
  const ended = cpuSeconds();
  hot += between - began;
  warm += ended - between;
  if (ended - said >= 0.25) {
    said = ended;
    require('fs').writeSync(1, `truth ${hot} ${warm} ${result & 1}\n`);
  }
}
