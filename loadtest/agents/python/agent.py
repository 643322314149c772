"""Produces segments, logs and meters with the SkyWalking Python agent.

usage: agent.py COLLECTOR SERVICE INSTANCE COUNT [PER_SECOND]

Prints what the agent has taken, one thing a line: `segment ID`, and where its reporters are active
(SW_AGENT_LOG_REPORTER_ACTIVE, SW_AGENT_METER_REPORTER_ACTIVE) `log TEXT` and
`meter NAME{LABEL=VALUE,...}=VALUE@TIMESTAMP`, of a histogram `...=[BOUND:COUNT,...]@TIMESTAMP`.

In sync mode, exits 0 once the agent has sent it all and had the answers. In asyncio mode
(SW_AGENT_ASYNCIO_ENHANCEMENT) the agent's calls never end by themselves, and it forgets what it has not
yet written when it is stopped: prints `done` and waits to be killed.
"""

import logging
import sys
import threading
import time

FLUSH_SECONDS = 60
METER_ROUNDS = 3
METER = 'orders'


def say(*words) -> None:
    sys.stdout.write(' '.join(map(str, words)) + '\n')
    sys.stdout.flush()


def await_loop(agent) -> None:
    """The asyncio agent starts in a thread of its own, and takes nothing before it has its queues."""
    until = time.monotonic() + FLUSH_SECONDS
    while agent._SkyWalkingAgentAsync__protocol is None:
        if time.monotonic() > until:
            raise TimeoutError('the agent has not started')
        time.sleep(0.01)


def line_of(data) -> str:
    """What a MeterData is known by."""
    one = getattr(data, data.WhichOneof('metric'))
    labels = ','.join(f'{label.name}={label.value}' for label in one.labels)
    name = f'{one.name}{{{labels}}}' if labels else one.name
    if data.HasField('histogram'):
        buckets = ','.join(f'{bucket.bucket:g}:{bucket.count}' for bucket in one.values)
        return f'{name}=[{buckets}]@{data.timestamp}'
    return f'{name}={one.value}@{data.timestamp}'


class Meters:
    """Between the meter service and the agent's queue: says what passes, and passes only so much."""

    def __init__(self, agent, asynchronous: bool):
        self.rounds = 0
        self.closed = threading.Event()
        self.passing = threading.Lock()
        if asynchronous:
            onward = agent.archive_meter_async

            async def archive(data):
                if self.say(data):
                    await onward(data)

            agent.archive_meter_async = archive
        else:
            onward = agent.archive_meter

            def archive(data):
                with self.passing:
                    if self.say(data):
                        onward(data)

            agent.archive_meter = archive

    def say(self, data) -> bool:
        # The first of the program's own meters begins its part of a set.
        if self.closed.is_set():
            return False
        if data.singleValue.name == METER:
            if self.rounds == METER_ROUNDS:
                self.closed.set()
                return False
            self.rounds += 1
        say('meter', line_of(data))
        return True


def register_meters(service: str) -> None:
    from skywalking.meter.counter import Counter, CounterMode
    from skywalking.meter.gauge import Gauge
    from skywalking.meter.histogram import Histogram

    tags = (('kind', 'book'), ('shop', service))
    Counter.Builder(METER, CounterMode.INCREMENT, tags).build().increment(7)
    Gauge.Builder('stock', iter([2.5, 3.5, 4.5, 5.5]), tags).build()
    durations = Histogram.Builder('durations', [10, 100], tags=tags).build()
    for value in (5, 50, 55, 500):
        durations.add_value(value)


def report(number: int) -> None:
    from skywalking import Component, Layer
    from skywalking.trace.context import get_context
    from skywalking.trace.tags import TagHttpMethod

    context = get_context()
    with context.new_entry_span(op=f'GET:/orders/{number}') as span:
        span.layer = Layer.Http
        span.component = Component.Flask
        span.tag(TagHttpMethod('GET'))
        with context.new_exit_span(op='SELECT', peer='db:5432') as inner:
            inner.layer = Layer.Database
            inner.component = Component.PyMysql
        segment = str(context.segment.segment_id)
    say('segment', segment)


def main() -> int:
    collector, service, instance, count = sys.argv[1:5]
    per_second = float(sys.argv[5]) if len(sys.argv) > 5 else 200.0

    from skywalking import config
    from skywalking.agent import agent

    config.init(
        agent_collector_backend_services=collector,
        agent_name=service,
        agent_instance_name=instance,
        agent_logging_level='ERROR',
        agent_log_reporter_layout='%(message)s',
    )
    asynchronous = config.agent_asyncio_enhancement
    meters = Meters(agent, asynchronous) if config.agent_meter_reporter_active else None
    agent.start()
    if asynchronous:
        await_loop(agent)
    if meters:
        register_meters(service)
    logger = logging.getLogger('orders')
    logger.addHandler(logging.NullHandler())
    for number in range(int(count)):
        report(number)
        if config.agent_log_reporter_active:
            text = f'{service} has taken order {number}'
            logger.warning(text)
            say('log', text)
        time.sleep(1 / per_second)
    if meters and not meters.closed.wait(FLUSH_SECONDS):
        print('the agent has not reported its meters', file=sys.stderr)
        return 1
    if asynchronous:
        say('done')
        threading.Event().wait()

    # stop() sends what is queued and tells the reporters to end; each ends only after the answer to
    # the call that it has under way.
    agent.stop()
    for thread in threading.enumerate():
        if thread.name in ('SegmentReportThread', 'LogReportThread', 'MeterReportThread'):
            thread.join(FLUSH_SECONDS)
            if thread.is_alive():
                print(f'{thread.name} has not flushed', file=sys.stderr)
                return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
