// SPDX-License-Identifier: BSD-3-Clause

/*
 * Tiny temporaries: numbers of any length, immutable, with a new block for every result, as in
 * interpreters, computer algebra and cryptography. It computes numerators of continued fractions:
 * h(n) = a(n) h(n-1) + h(n-2).
 *
 *	bignum [OPERATIONS [THREADS]]
 */

#include "load.h"

#define TERMS 250 /* until a fraction is given up for the next */

struct number {
	size_t length;
	uint32_t limbs[]; /* the lowest first */
};

static size_t fractions;

static struct number *number_new(size_t length)
{
	struct number *n = load_block(sizeof(*n) + length * sizeof(n->limbs[0]));

	n->length = length;
	return n;
}

static struct number *number_from(uint32_t value)
{
	struct number *n = number_new(1);

	n->limbs[0] = value;
	return n;
}

static struct number *multiplied(const struct number *a, uint32_t factor)
{
	struct number *product = number_new(a->length + 1);
	uint64_t carry = 0;

	for (size_t i = 0; i < a->length; i++) {
		carry += (uint64_t)a->limbs[i] * factor;
		product->limbs[i] = (uint32_t)carry;
		carry >>= 32;
	}
	product->limbs[a->length] = (uint32_t)carry;
	product->length -= carry == 0;
	return product;
}

/* a is at least as long as b. */
static struct number *sum_of(const struct number *a, const struct number *b)
{
	struct number *sum = number_new(a->length + 1);
	uint64_t carry = 0;

	for (size_t i = 0; i < a->length; i++) {
		carry += (uint64_t)a->limbs[i] + (i < b->length ? b->limbs[i] : 0);
		sum->limbs[i] = (uint32_t)carry;
		carry >>= 32;
	}
	sum->limbs[a->length] = (uint32_t)carry;
	sum->length -= carry == 0;
	return sum;
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);

	for (size_t n = 0; n < fractions; n++) {
		struct number *before = number_from(1), *last = number_from(2);

		for (int i = 0; i < TERMS; i++) {
			struct number *product =
				multiplied(last, (uint32_t)load_between(&seed, 1, 99));
			struct number *next = sum_of(product, before);

			free(product);
			free(before);
			before = last;
			last = next;
		}
		free(before);
		free(last);
	}
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	fractions = load_argument(argc, argv, 1, 8000000) / threads / (2 * TERMS);
	load_threads(threads, work);
	return 0;
}
