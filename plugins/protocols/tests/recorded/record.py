"""Answers every gRPC method with an empty message and keeps what it is sent, byte for byte.

usage: record.py PORT FOLDER

Each call becomes a file in FOLDER, named after its method and its number: the messages with the
prefixes that they have on the wire (a flag, and the length in four bytes).
"""

import itertools
import pathlib
import sys
import threading
from concurrent import futures

import grpc

NUMBERS = itertools.count()


class Recorder(grpc.GenericRpcHandler):
    def __init__(self, folder):
        self.folder = folder

    def service(self, call):
        name = call.method.strip('/').replace('/', '.')

        def keep(messages, _context):
            with open(self.folder / f'{name}.{next(NUMBERS):03}', 'wb') as file:
                for message in messages:
                    file.write(b'\0' + len(message).to_bytes(4, 'big') + message)
                    file.flush()
            yield b''

        return grpc.stream_stream_rpc_method_handler(keep)


def main():
    port, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(64))
    server.add_generic_rpc_handlers((Recorder(folder),))
    if server.add_insecure_port(f'127.0.0.1:{port}') == 0:
        sys.exit(f'port {port} is taken')
    server.start()
    threading.Event().wait()


if __name__ == '__main__':
    main()
