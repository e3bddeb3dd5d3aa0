"""Corpus: documents in, token windows out.

``read_documents`` yields documents from any supported source, ``build_corpus`` tokenizes them and
cuts them into windows, ``load_windows`` gives the windows to the stages downstream.
"""

from dskd_core.corpus.documents import Document, Reading
from dskd_core.corpus.readers import read_documents
from dskd_core.corpus.store import Windows, build_corpus, load_windows

__all__ = ["Document", "Reading", "Windows", "build_corpus", "load_windows", "read_documents"]
