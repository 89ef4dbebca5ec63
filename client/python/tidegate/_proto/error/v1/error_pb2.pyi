from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from google.protobuf.internal import containers as _containers
from tidegate._proto.registry.v1 import registry_pb2 as _registry_pb2

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorDetail(_message.Message):
    __slots__ = ("causes", "problems", "problems_omitted")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[_registry_pb2.Problem]
    problems_omitted: int
    causes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, problems: _Iterable[_registry_pb2.Problem | _Mapping] | None = ..., problems_omitted: int | None = ..., causes: _Iterable[str] | None = ...) -> None: ...
