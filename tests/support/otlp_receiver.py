#!/usr/bin/env python3
"""Takes traces as a collector does (OTLP over HTTP with JSON), decodes them with the protocol's own generated messages, and
prints one JSON object a span. The first line is the port.

    "$(scripts/python.sh tests/otlp-requirements.txt)"/bin/python tests/support/otlp_receiver.py

A body that the messages do not take, an unknown field among it, is answered 400 and told as {"error": …}.
"""

import base64
import http.server
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

IDS = ("traceId", "spanId", "parentSpanId")


def with_bytes(value):
    """Ids are hexadecimal in OTLP's JSON, where protobuf's own mapping has base64."""
    if isinstance(value, dict):
        return {
            name: base64.b64encode(bytes.fromhex(member)).decode() if name in IDS else with_bytes(member)
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [with_bytes(item) for item in value]
    return value


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def told(resource, scope, span):
    return {
        "resource": attributes(resource.attributes),
        "scope": scope.name,
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes(span.attributes),
        "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
        "status": span.status.code,
    }


def say(line):
    print(json.dumps(line), flush=True)


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            assert self.path == "/v1/traces", self.path
            assert self.headers["Content-Type"] == "application/json", self.headers["Content-Type"]
            request = json_format.ParseDict(with_bytes(json.loads(body)), ExportTraceServiceRequest())
        except Exception as error:
            say({"error": repr(error)})
            self.send_error(400)
            return
        for of_resource in request.resource_spans:
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    say(told(of_resource.resource, of_scope.scope, span))
        answer = json_format.MessageToJson(ExportTraceServiceResponse()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
