"""What developers try Trapline with: samples, examples, a new project's files, generated pages. Never imported by trapline."""
