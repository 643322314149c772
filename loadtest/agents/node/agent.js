// Produces segments with the SkyWalking Node.js agent: an HTTP server that calls itself.
//
// usage: agent.js COLLECTOR SERVICE INSTANCE COUNT [PER_SECOND]
//
// Prints the traceSegmentId of every segment that the agent finishes, one a line: the server's, one
// for each request. Ends once the agent has sent them all and had the answers: the agent's timers do
// not hold the process, its open calls do.
'use strict';

const [collectorAddress, serviceName, serviceInstance, count, perSecond = '200'] = process.argv.slice(2);

const { default: agent } = require('skywalking-backend-js');
const { emitter } = require('skywalking-backend-js/lib/lib/EventEmitter');

// Before http is loaded, so that its plug-in sees every request.
agent.start({ serviceName, serviceInstance, collectorAddress });

// The reporter takes a segment from the same event.
emitter.on('segment-finished', (segment) => {
  process.stdout.write(`${segment.segmentId}\n`);
});

const http = require('http');

function request(port, number) {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: `/orders/${number}`, agent: false };
    http
      .get(options, (response) => {
        response.resume();
        response.on('end', resolve);
      })
      .on('error', reject);
  });
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The agent sends nothing, and says so to nobody, until its channel is connected.
async function connected() {
  for (let waited = 0; waited < 10000; waited += 20) {
    if (agent.protocol.traceReportClient.isConnected) return;
    await pause(20);
  }
  throw new Error(`${collectorAddress} cannot be connected to`);
}

async function main() {
  await connected();
  const server = http.createServer((_, response) => response.end('done'));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  for (let number = 0; number < Number(count); number += 1) {
    await request(server.address().port, number);
    await pause(1000 / Number(perSecond));
  }
  await new Promise((resolve) => server.close(resolve));
  await agent.flush();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
