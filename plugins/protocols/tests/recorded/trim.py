"""Makes the recordings of this folder out of what record.py has kept.

usage: trim.py FOLDER_OF_RECORD_PY FOLDER
"""

import pathlib
import sys

EXTENSIONS = 9


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def written(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def fields(message):
    """Each field's number, its bytes as they stand there, and what it holds if that has a length."""
    at = 0
    while at < len(message):
        start = at
        key, at = varint(message, at)
        content = None
        if key & 7 == 0:
            _, at = varint(message, at)
        elif key & 7 == 1:
            at += 8
        elif key & 7 == 5:
            at += 4
        else:
            length, at = varint(message, at)
            content = message[at:at + length]
            at += length
        yield key >> 3, message[start:at], content


def changed(message, number, change):
    return b''.join(
        written(number << 3 | 2) + written(len(new)) + new
        if which == number and (new := change(content)) is not None else raw
        for which, raw, content in fields(message)
    )


def only(message, number, most):
    """Without all but the first so many of a field."""
    out, seen = b'', 0
    for which, raw, _ in fields(message):
        seen += which == number
        if which != number or seen <= most:
            out += raw
    return out


def few_extensions(message):
    node = lambda content: only(content, EXTENSIONS, 2)
    return changed(message, 1, lambda identifier: changed(identifier, 1, node))


def messages(folder, method, call=0, longest=1 << 20):
    """Those of one of the calls of the method that are not empty, and no longer than that."""
    calls = sorted(folder.glob(f'{method}.*'))
    files = [path for path in calls if 0 < path.stat().st_size <= longest]
    framed = files[call].read_bytes()
    while framed:
        length = int.from_bytes(framed[1:5], 'big')
        yield framed[5:5 + length]
        framed = framed[5 + length:]


def keep(path, kept):
    path.write_bytes(b''.join(b'\0' + len(one).to_bytes(4, 'big') + one for one in kept))


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    logs = 'envoy.service.accesslog.v3.AccessLogService.StreamAccessLogs'
    keep(target / 'envoy-http-access-logs', messages(source, logs, 0))
    keep(target / 'envoy-tcp-access-logs', map(few_extensions, messages(source, logs, 1)))
    metrics = list(messages(source, 'envoy.service.metrics.v3.MetricsService.StreamMetrics'))[:3]
    keep(target / 'envoy-metrics', (only(few_extensions(one), 2, 3) for one in metrics))
    keep(target / 'python-logs', messages(source, 'skywalking.v3.LogReportService.collect'))
    keep(target / 'python-meters', messages(source, 'skywalking.v3.MeterReportService.collect'))
    # An Envoy's requests are longer than those of an SDK.
    requests = messages(source, 'opentelemetry.proto.collector.metrics.v1.MetricsService.Export', 0, 2000)
    keep(target / 'otel-python-metrics', requests)


if __name__ == '__main__':
    main()
