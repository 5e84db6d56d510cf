"""What the image of the example of a stdio backend holds: the fixture server, started by Python."""

import os

os.execvp("mcp-test-server", ["mcp-test-server", "--transport", "stdio", "--tool", "weather"])
