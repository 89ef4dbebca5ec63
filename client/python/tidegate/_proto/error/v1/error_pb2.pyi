import builtins as _builtins
from tidegate._proto.registry.v1 import registry_pb2 as _registry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorDetail(_message.Message):
    __slots__ = ("problems", "problems_omitted", "causes")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[_registry_pb2.Problem]
    problems_omitted: int
    causes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, problems: _Optional[_Iterable[_Union[_registry_pb2.Problem, _Mapping]]] = ..., problems_omitted: _Optional[int] = ..., causes: _Optional[_Iterable[str]] = ...) -> None: ...
