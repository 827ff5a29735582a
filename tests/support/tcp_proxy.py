"""A network between a client and a server that can be cut: politely, by reset, or without a word."""

import socket
import struct
import threading
from typing import Final

_BYTES: Final = 1 << 16


class TcpProxy:
    """Listens on `port` of 127.0.0.1 and passes all on to `target`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._passing = threading.Event()
        self._passing.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        """Connections stay open, and nothing comes through any more, new ones neither."""
        self._passing.clear()

    def restore(self) -> None:
        """All passes again; what was sent in the silence, too."""
        self._passing.set()

    def reset(self) -> None:
        """Every connection ends with RST."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for side in pair:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.close()

    def close(self) -> None:
        self._listener.close()
        self._passing.set()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self.connections += 1
            self._pairs.append((client, server))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(_BYTES):
                self._passing.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other side, or `reset`, ended it
