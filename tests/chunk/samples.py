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
}
ALL = {**CODE, "a.md": MARKDOWN, "a.rst": RST}
