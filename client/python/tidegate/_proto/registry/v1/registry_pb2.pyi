import builtins as _builtins
from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper

DESCRIPTOR: _descriptor.FileDescriptor

class DefinitionFile(_message.Message):
    __slots__ = ("content", "path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    path: str
    content: _builtins.bytes
    def __init__(self, path: str | None = ..., content: _builtins.bytes | None = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("column", "file", "line", "message", "snippet", "suggestion")
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
    def __init__(self, file: str | None = ..., line: int | None = ..., column: int | None = ..., message: str | None = ..., snippet: str | None = ..., suggestion: str | None = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("files", "prune")
    FILES_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[DefinitionFile]
    prune: bool
    def __init__(self, files: _Iterable[DefinitionFile | _Mapping] | None = ..., prune: bool | None = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("base_version", "changes", "problems", "project", "target_digest", "warnings")
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
    def __init__(self, project: str | None = ..., base_version: int | None = ..., changes: _Iterable[Change | _Mapping] | None = ..., problems: _Iterable[Problem | _Mapping] | None = ..., target_digest: str | None = ..., warnings: _Iterable[str] | None = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("action", "breaking", "dependents", "details", "kind", "name")
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
    def __init__(self, action: Change.Action | str | None = ..., kind: str | None = ..., name: str | None = ..., details: _Iterable[str] | None = ..., breaking: _Iterable[str] | None = ..., dependents: _Iterable[str] | None = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("allow_breaking", "base_version", "expected_digest", "files", "prune")
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
    def __init__(self, files: _Iterable[DefinitionFile | _Mapping] | None = ..., prune: bool | None = ..., base_version: int | None = ..., expected_digest: str | None = ..., allow_breaking: bool | None = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("changes", "problems", "project", "version")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    project: str
    version: int
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, project: str | None = ..., version: int | None = ..., changes: _Iterable[Change | _Mapping] | None = ..., problems: _Iterable[Problem | _Mapping] | None = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("kind", "name", "project", "version")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    project: str
    kind: str
    name: str
    version: int
    def __init__(self, project: str | None = ..., kind: str | None = ..., name: str | None = ..., version: int | None = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("definitions", "version")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    version: int
    definitions: _containers.RepeatedCompositeFieldContainer[Definition]
    def __init__(self, version: int | None = ..., definitions: _Iterable[Definition | _Mapping] | None = ...) -> None: ...

class Definition(_message.Message):
    __slots__ = ("dependents", "description", "facts", "kind", "name", "owner", "yaml")
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
    def __init__(self, kind: str | None = ..., name: str | None = ..., yaml: str | None = ..., description: str | None = ..., owner: str | None = ..., dependents: _Iterable[str] | None = ..., facts: _Iterable[Fact | _Mapping] | None = ...) -> None: ...

class Fact(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: str | None = ..., value: str | None = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("kind", "name", "project")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    project: str
    kind: str
    name: str
    def __init__(self, project: str | None = ..., kind: str | None = ..., name: str | None = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("project",)
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    project: str
    def __init__(self, project: str | None = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    def __init__(self, versions: _Iterable[Version | _Mapping] | None = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("cause", "changes", "created_at", "principal", "version")
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
    def __init__(self, version: int | None = ..., created_at: int | None = ..., principal: str | None = ..., cause: str | None = ..., changes: _Iterable[str] | None = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("allow_breaking", "project", "to_version")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_BREAKING_FIELD_NUMBER: _ClassVar[int]
    project: str
    to_version: int
    allow_breaking: bool
    def __init__(self, project: str | None = ..., to_version: int | None = ..., allow_breaking: bool | None = ...) -> None: ...

class ListProjectsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProjectsResponse(_message.Message):
    __slots__ = ("projects",)
    PROJECTS_FIELD_NUMBER: _ClassVar[int]
    projects: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, projects: _Iterable[str] | None = ...) -> None: ...
