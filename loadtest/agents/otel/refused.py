"""One call of grpcio to a server that has no room for it.

usage: python refused.py ADDRESS SECONDS

Makes one call with a deadline of SECONDS and prints `code NAME`, `details TEXT`, `seconds NUMBER` until
it had ended, and `cpu NUMBER`, the seconds of CPU time that it took.
"""

import sys
import time

import grpc

METHOD = '/skywalking.v3.TraceSegmentReportService/collectInSync'


def main() -> None:
    address, seconds = sys.argv[1], float(sys.argv[2])
    began, used = time.monotonic(), time.process_time()
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD)
        try:
            call(b'', timeout=seconds)
            code, details = 'OK', ''
        except grpc.RpcError as error:
            code, details = error.code().name, error.details()
    print('code', code)
    print('details', details)
    print('seconds', time.monotonic() - began)
    print('cpu', time.process_time() - used)


main()
