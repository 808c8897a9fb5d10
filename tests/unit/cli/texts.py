"""A small policy about texts, with its tests: what the command line is tried on."""

POLICY = """\
schema: policy/v1
id: flyers
title: Flyers for pills
version: 1.0.0
owner: market-safety
review_by: 2099-03-01
severity: high
basis: {kind: terms, reference: section 4.2}
encoder: default
scope: {modalities: [text], languages: [en]}
definition:
  violates: [{id: v1, text: "A flyer that sells pills."}]
  allowed: [{id: a1, text: "A greeting among friends."}]
concepts:
  violating: [{id: pills, covers: [v1], phrases: [cheap pills, discount tablets]}]
  contrast: [{id: greeting, covers: [a1], phrases: [hello friend, good morning]}]
data: {fit: data/fit.jsonl, certify: data/certify.jsonl}
prevalence: {low: 0.05, high: 0.1, source: random review sample, n: 6000}
actions:
  - {action: remove, guarantee: {metric: precision, at_least: 0.5, confidence: 0.9}}
  - {action: review, guarantee: {metric: recall, at_least: 0.8, confidence: 0.9}, budget: 0.5}
on_error: review
tests: [tests/flyers.yaml]
"""

TESTS = """\
suite: flyers
cases:
  - {id: advert, item: {text: cheap discount pills}, expect: at_least review}
  - {id: greeting, item: {text: good morning friend}, expect: no_match}
"""
