"""Produces segments with the SkyWalking Python agent (sync mode).

usage: agent.py COLLECTOR SERVICE INSTANCE COUNT [PER_SECOND]

Prints the traceSegmentId of every segment that the agent accepts, one a line, and exits 0 once the
agent has sent them all and had the answer.
"""

import sys
import threading
import time

FLUSH_SECONDS = 60


def main() -> int:
    collector, service, instance, count = sys.argv[1:5]
    per_second = float(sys.argv[5]) if len(sys.argv) > 5 else 200.0

    from skywalking import config
    from skywalking.agent import agent
    from skywalking import Component, Layer
    from skywalking.trace.context import get_context
    from skywalking.trace.tags import TagHttpMethod

    config.init(
        agent_collector_backend_services=collector,
        agent_name=service,
        agent_instance_name=instance,
        agent_logging_level='ERROR',
    )
    agent.start()
    for number in range(int(count)):
        context = get_context()
        with context.new_entry_span(op=f'GET:/orders/{number}') as span:
            span.layer = Layer.Http
            span.component = Component.Flask
            span.tag(TagHttpMethod('GET'))
            with context.new_exit_span(op='SELECT', peer='db:5432') as inner:
                inner.layer = Layer.Database
                inner.component = Component.PyMysql
            segment = str(context.segment.segment_id)
        print(segment, flush=True)
        time.sleep(1 / per_second)

    # stop() sends what is queued and tells the reporter to end; the reporter ends only after the
    # answer to the call that it has under way.
    agent.stop()
    for thread in threading.enumerate():
        if thread.name == 'SegmentReportThread':
            thread.join(FLUSH_SECONDS)
            if thread.is_alive():
                print('the agent has not flushed', file=sys.stderr)
                return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
