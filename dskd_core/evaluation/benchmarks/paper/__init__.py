"""The paper's protocol: chats with exemplars, and a generated answer that names a label."""
