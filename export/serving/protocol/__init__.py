"""The Open Inference Protocol, version 2: requests and answers, in JSON and binary."""
