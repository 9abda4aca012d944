"""Small programs, one for each language, that the tests cut and describe."""

from __future__ import annotations

PYTHON = '''\
"""A module."""

import os
import sys


# Why there is a cart.
@decorated
class Cart:
    """Holds items."""

    def add(self, item):
        """Adds one."""
        self.items.append(item)

    async def total(self):
        def price(item):
            return item.price

        return sum(price(item) for item in self.items)


def main():
    return Cart()
'''

JAVASCRIPT = """\
import fs from "fs";

export class Cart {
  add(item) {
    this.items.push(item);
  }
  remove = (item) => {
    this.items.delete(item);
  };
}

export const total = (cart) => {
  return cart.items.length;
};

function main() {
  return new Cart();
}
"""

TYPESCRIPT = """\
export interface Priced {
  price: number;
}

namespace Shop {
  export class Cart<T extends Priced> {
    add(item: T): void {
      this.items.push(item);
    }
  }
}

enum Colour {
  Red,
  Green,
}
"""

JAVA = """\
package shop;

public class Cart {
    /** Adds one. */
    @Override
    public void add(Item item) {
        items.add(item);
    }

    interface Priced {
        int price();
    }
}
"""

GO = """\
package shop

// Cart holds items.
type Cart struct {
	items []Item
}

// Add adds one.
func (c *Cart) Add(item Item) {
	c.items = append(c.items, item)
}

func main() {
	new(Cart)
}
"""

RUST = """\
/// Holds items.
#[derive(Debug)]
pub struct Cart<T> {
    items: Vec<T>,
}

impl<T: Clone> Cart<T> {
    pub fn add(&mut self, item: T) {
        self.items.push(item);
    }
}

mod shop {
    fn main() {
        Cart::new();
    }
}
"""

C = """\
#include <stdio.h>

typedef struct cart {
    int items;
} cart;

/* Adds one. */
static int *add(struct cart *c, int item)
{
    c->items += item;
    return &c->items;
}
"""

CPP = """\
namespace shop {

template <typename T>
class Cart {
public:
    void add(T item) {
        items.push_back(item);
    }
};

void Cart<int>::clear() {
    items.clear();
}

}  // namespace shop
"""

MARKDOWN = """\
An opening paragraph.

# Install

Some words.

## From source

```sh
# not a heading
make
```

Usage
=====

Other words.
"""

RST = """\
=======
Library
=======

Words.

Install
-------

More words.

Usage
-----

Other words.
"""

CSHARP = """\
namespace Shop {
  // c
  [Attr]
  public class Cart<T> : Base {
    public int Total { get { return 1; } }
    public Cart(int a) {
    }
    public void Add(T item) {
      void Local() {
      }
    }
  }
  interface IA { void F(); }
  struct S { }
  enum E { A }
  record R(int a);
  delegate void D(int a);
}
"""

RUBY = """\
module Shop
  class Cart < Base
    # c
    def add(item)
      @a << item
    end
    def self.make
      new
    end
    class << self
      def f
      end
    end
  end
end
"""

PHP = """\
<?php
namespace Shop;
/** c */
#[A]
class Cart extends B {
  public function add($a) {
    return 1;
  }
}
interface I { }
trait T { }
enum E { case A; }
function f() {
}
$g = function () {
};
"""

BASH = """\
#!/bin/bash
# c
function f {
  echo a
}
g() {
  echo b
}
"""

KOTLIN = """\
package a
class Cart<T>(val a: Int) {
  fun add(item: T) {
    a
  }
  companion object {
    fun make() = 1
  }
}
object O {
}
interface I {
}
enum class E { A }
fun String.ext(): Int {
  return 1
}
typealias T = Int
"""

SWIFT = """\
class Cart<T>: Base {
  init(a: Int) {
  }
  func add(_ i: T) {
    a()
  }
}
struct S {
}
enum E {
 case a
}
protocol P {
  func f()
}
extension Cart {
  func g() {
  }
}
"""

SCALA = """\
package a
object Cart {
  def make(a: Int): Int = {
    1
  }
}
class C[T](a: Int) extends B {
  def f = 1
}
trait T {
}
enum E {
  case A
}
"""

LUA = """\
local M = {}
-- c
function M.add(a)
  return 1
end
function M:sub(a)
  return 2
end
local function f()
 return 1
end
M.g = function()
 return 1
end
"""

SQL = """\
-- c
CREATE TABLE cart (
  id INT
);
CREATE VIEW v AS
SELECT 1;
CREATE FUNCTION f(a INT) RETURNS INT AS $$
SELECT 1
$$ LANGUAGE sql;
CREATE INDEX i ON cart (id);
SELECT a FROM b;
"""

HTML = """\
<html>
<body>
<!-- Holds items. -->
<div id="cart">
<p>Items.</p>
</div>
<script>
add(1);
</script>
</body>
</html>
"""

CSS = """\
/* c */
.cart a {
  color: red;
}
@media print {
  a {
    x: y;
  }
}
@keyframes k {
 from { a: b }
}
"""

JSON = """\
{
  "a": {
    "b": [
      1
    ]
  },
  "c": 1
}
"""

YAML = """\
# c
a:
  b:
    - x
    - y
c: 1
"""

TOML = """\
# c
[a.b]
c = 1
[[d]]
e = 2
"""

CODE = {
    "a.py": PYTHON,
    "a.js": JAVASCRIPT,
    "a.ts": TYPESCRIPT,
    "a.tsx": TYPESCRIPT,
    "a.java": JAVA,
    "a.go": GO,
    "a.rs": RUST,
    "a.c": C,
    "a.cpp": CPP,
    "a.cs": CSHARP,
    "a.rb": RUBY,
    "a.php": PHP,
    "a.sh": BASH,
    "a.kt": KOTLIN,
    "a.swift": SWIFT,
    "a.scala": SCALA,
    "a.lua": LUA,
    "a.sql": SQL,
    "a.html": HTML,
    "a.css": CSS,
    "a.json": JSON,
    "a.yaml": YAML,
    "a.toml": TOML,
}
ALL = {**CODE, "a.md": MARKDOWN, "a.rst": RST}
