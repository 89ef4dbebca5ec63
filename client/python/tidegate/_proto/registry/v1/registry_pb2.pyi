import builtins as _builtins
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DefinitionFile(_message.Message):
    __slots__ = ("path", "content")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    path: str
    content: _builtins.bytes
    def __init__(self, path: _Optional[str] = ..., content: _Optional[_builtins.bytes] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("file", "line", "column", "message", "snippet", "suggestion")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SNIPPET_FIELD_NUMBER: _ClassVar[int]
    SUGGESTION_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    column: int
    message: str
    snippet: str
    suggestion: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., message: _Optional[str] = ..., snippet: _Optional[str] = ..., suggestion: _Optional[str] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("files", "prune")
    FILES_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[DefinitionFile]
    prune: bool
    def __init__(self, files: _Optional[_Iterable[_Union[DefinitionFile, _Mapping]]] = ..., prune: _Optional[bool] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("project", "base_version", "changes", "problems", "target_digest", "warnings")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    TARGET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    project: str
    base_version: int
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    target_digest: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project: _Optional[str] = ..., base_version: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., target_digest: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("action", "kind", "name", "details", "breaking", "dependents")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[Change.Action]
        ACTION_CREATE: _ClassVar[Change.Action]
        ACTION_UPDATE: _ClassVar[Change.Action]
        ACTION_DELETE: _ClassVar[Change.Action]
    ACTION_UNSPECIFIED: Change.Action
    ACTION_CREATE: Change.Action
    ACTION_UPDATE: Change.Action
    ACTION_DELETE: Change.Action
    ACTION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    BREAKING_FIELD_NUMBER: _ClassVar[int]
    DEPENDENTS_FIELD_NUMBER: _ClassVar[int]
    action: Change.Action
    kind: str
    name: str
    details: _containers.RepeatedScalarFieldContainer[str]
    breaking: _containers.RepeatedScalarFieldContainer[str]
    dependents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, action: _Optional[_Union[Change.Action, str]] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., details: _Optional[_Iterable[str]] = ..., breaking: _Optional[_Iterable[str]] = ..., dependents: _Optional[_Iterable[str]] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("files", "prune", "base_version", "expected_digest", "allow_breaking")
    FILES_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ALLOW_BREAKING_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[DefinitionFile]
    prune: bool
    base_version: int
    expected_digest: str
    allow_breaking: bool
    def __init__(self, files: _Optional[_Iterable[_Union[DefinitionFile, _Mapping]]] = ..., prune: _Optional[bool] = ..., base_version: _Optional[int] = ..., expected_digest: _Optional[str] = ..., allow_breaking: _Optional[bool] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("project", "version", "changes", "problems")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    project: str
    version: int
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, project: _Optional[str] = ..., version: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("project", "kind", "name", "version")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    project: str
    kind: str
    name: str
    version: int
    def __init__(self, project: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("version", "definitions")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    version: int
    definitions: _containers.RepeatedCompositeFieldContainer[Definition]
    def __init__(self, version: _Optional[int] = ..., definitions: _Optional[_Iterable[_Union[Definition, _Mapping]]] = ...) -> None: ...

class Definition(_message.Message):
    __slots__ = ("kind", "name", "yaml", "description", "owner", "dependents", "facts")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    YAML_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    DEPENDENTS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    yaml: str
    description: str
    owner: str
    dependents: _containers.RepeatedScalarFieldContainer[str]
    facts: _containers.RepeatedCompositeFieldContainer[Fact]
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., yaml: _Optional[str] = ..., description: _Optional[str] = ..., owner: _Optional[str] = ..., dependents: _Optional[_Iterable[str]] = ..., facts: _Optional[_Iterable[_Union[Fact, _Mapping]]] = ...) -> None: ...

class Fact(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("project", "kind", "name")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    kind: str
    name: str
    def __init__(self, project: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("project",)
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    project: str
    def __init__(self, project: _Optional[str] = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    def __init__(self, versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("version", "created_at", "principal", "cause", "changes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    version: int
    created_at: int
    principal: str
    cause: str
    changes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., created_at: _Optional[int] = ..., principal: _Optional[str] = ..., cause: _Optional[str] = ..., changes: _Optional[_Iterable[str]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("project", "to_version", "allow_breaking")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_BREAKING_FIELD_NUMBER: _ClassVar[int]
    project: str
    to_version: int
    allow_breaking: bool
    def __init__(self, project: _Optional[str] = ..., to_version: _Optional[int] = ..., allow_breaking: _Optional[bool] = ...) -> None: ...

class ListProjectsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProjectsResponse(_message.Message):
    __slots__ = ("projects",)
    PROJECTS_FIELD_NUMBER: _ClassVar[int]
    projects: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, projects: _Optional[_Iterable[str]] = ...) -> None: ...
