// SPDX-License-Identifier: BSD-3-Clause

/*
 * Call frame information (DWARF 5, section 6.4, and the Linux Standard Base on .eh_frame).
 *
 * 1. The .eh_frame_hdr of an object is a sorted table of the starts of functions and of their
 *    descriptions (FDE), each of which refers to a common one (CIE). A description is a program
 *    that produces a row of rules for each address. It is executed up to the wanted address.
 * 2. Only the rules of the registers of registers.h are computed: a CFA depends on no other
 *    register at a call. Compilers and glibc use few forms of expressions; others are CFI_ODD.
 * 3. The information is trusted, as by exceptions: it is the program's own.
 */

#include "cfi.h"

#include <link.h>
#include <stddef.h>
#include <string.h>

#include "registers.h"

#define SAVED_ROWS 4 /* nested remembered rows; compilers need one */

/* ---- Reading ---- */

struct reader {
	const unsigned char *at, *end;
};

static uint64_t read_fixed(struct reader *r, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, r->at, size);
	r->at += size;
	return value;
}

static uint64_t read_bits(struct reader *r, unsigned int *shift)
{
	uint64_t value = 0;
	unsigned char byte;

	*shift = 0;
	do {
		byte = *r->at++;
		if (*shift < 64)
			value |= (uint64_t)(byte & 0x7f) << *shift;
		*shift += 7;
	} while (byte & 0x80);
	return value;
}

static uint64_t read_unsigned(struct reader *r)
{
	unsigned int shift;

	return read_bits(r, &shift);
}

static int64_t read_signed(struct reader *r)
{
	unsigned int shift;
	uint64_t value = read_bits(r, &shift);

	if (shift < 64 && r->at[-1] & 0x40)
		value |= ~UINT64_C(0) << shift;
	return (int64_t)value;
}

/* The size of a value of this pointer encoding (DW_EH_PE_*); 0: unknown. */
static size_t encoded_size(unsigned int encoding)
{
	static const unsigned char sizes[8] = {8, 0, 2, 4, 8, 0, 0, 0};

	return sizes[encoding & 7];
}

/* ---- Descriptions ---- */

struct description {
	uintptr_t start, size; /* of the function */
	struct reader program; /* the instructions of the FDE */
	/* Of the CIE: */
	const unsigned char *cie;
	struct reader initial; /* its instructions */
	unsigned int encoding; /* of addresses in the FDE */
	uint64_t code_factor;
	int64_t data_factor;
	bool is_signal;
};

/* The augmentation string says what its data is. False: unknown. */
static bool read_augmentation(struct reader *r, const char *string, struct description *d)
{
	size_t size;

	d->encoding = 0;
	d->is_signal = false;
	for (; *string; string++) {
		if (*string == 'S') {
			d->is_signal = true;
		} else if (*string == 'R') {
			d->encoding = *r->at++;
		} else if (*string == 'B' || *string == 'G') {
			/* aarch64: the other key for return addresses; tagged memory */
		} else if (*string == 'L') {
			r->at++;
		} else if (*string == 'P') {
			size = encoded_size(*r->at++);
			if (!size)
				return false;
			r->at += size;
		} else {
			return false;
		}
	}
	return encoded_size(d->encoding);
}

static bool read_cie(const unsigned char *cie, struct description *d)
{
	struct reader r = {.at = cie};
	uint64_t size = read_fixed(&r, 4);
	const unsigned char *end = r.at + size;
	const char *string;
	unsigned int version;

	if (size == UINT32_MAX || read_fixed(&r, 4) != 0) /* 64 bits, or not a CIE */
		return false;
	version = *r.at++;
	string = (const char *)r.at;
	r.at += strlen(string) + 1;
	d->code_factor = read_unsigned(&r);
	d->data_factor = read_signed(&r);
	if ((version == 1 ? *r.at++ : read_unsigned(&r)) != REGISTERS_RETURN || *string != 'z')
		return false;
	size = read_unsigned(&r);
	d->cie = cie;
	d->initial = (struct reader){.at = r.at + size, .end = end};
	return read_augmentation(&r, string + 1, d);
}

/* If d has the CIE already, it is not read again. */
static bool read_fde(const unsigned char *fde, struct description *d)
{
	struct reader r = {.at = fde};
	uint64_t size = read_fixed(&r, 4);
	const unsigned char *end = r.at + size, *cie = r.at;
	bool is_relative;

	cie -= (uint32_t)read_fixed(&r, 4);
	if (size == UINT32_MAX || (cie != d->cie && !read_cie(cie, d)))
		return false;
	is_relative = (d->encoding & 0x70) == 0x10;
	d->start = is_relative ? (uintptr_t)r.at : 0;
	if (encoded_size(d->encoding) == 4) {
		d->start += (uintptr_t)(intptr_t)(int32_t)read_fixed(&r, 4);
		d->size = read_fixed(&r, 4);
	} else {
		d->start += read_fixed(&r, 8);
		d->size = read_fixed(&r, 8);
	}
	size = read_unsigned(&r);
	d->program = (struct reader){.at = r.at + size, .end = end};
	return true;
}

/* The description of the last function that begins at the address or below. NULL: none. */
static const unsigned char *find_fde(const unsigned char *index, uintptr_t address)
{
	/* Version 1, 4-byte encodings of the section and the count, a table relative to itself. */
	bool is_usual = index[0] == 1 && encoded_size(index[1]) == 4 && index[2] == 0x03 &&
			index[3] == 0x3b;
	struct reader r = {.at = index + 8};
	size_t low = 0, high = is_usual ? read_fixed(&r, 4) : 0;
	struct {
		int32_t start, fde; /* relative to index */
	} entry;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		memcpy(&entry, r.at + middle * sizeof(entry), sizeof(entry));
		if ((uintptr_t)index + (uintptr_t)(intptr_t)entry.start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	memcpy(&entry, r.at + (low - 1) * sizeof(entry), sizeof(entry));
	return index + entry.fde;
}

/* Read the description of the function with the address. CFI_NONE or CFI_ODD: there is none. */
static enum cfi_kind find_description(const struct object *object, uintptr_t address,
				      struct description *d)
{
	struct reader r = {.at = object->frames, .end = object->frames_end};
	const unsigned char *fde;
	uint64_t size;

	if (object->index) {
		fde = find_fde(object->index, address);
		if (fde && !read_fde(fde, d))
			return CFI_ODD;
		return fde && address - d->start < d->size ? CFI_FRAME : CFI_NONE;
	}
	while (r.at < r.end && (size = read_fixed(&r, 4)) != 0) {
		fde = r.at - 4;
		r.at += size;
		if (read_fde(fde, d) && address - d->start < d->size)
			return CFI_FRAME;
	}
	return CFI_NONE;
}

/* ---- Programs ---- */

struct saved {
	enum cfi_place place;
	int64_t offset;
};

struct row {
	uint64_t base; /* a register */
	int64_t offset;
	struct saved fp, other;
	bool is_loaded, is_outermost, is_odd;
};

struct run {
	const struct description *d;
	struct row row, initial, saved[SAVED_ROWS];
	unsigned int saved_count;
	uintptr_t at; /* the row is for this address on */
};

static struct saved *saved_of(struct row *row, uint64_t number)
{
	if (number == REGISTERS_FP)
		return &row->fp;
	return number == REGISTERS_OTHER ? &row->other : NULL;
}

static void set_saved(struct row *row, uint64_t number, enum cfi_place place, int64_t offset)
{
	struct saved *saved = saved_of(row, number);

	if (saved)
		*saved = (struct saved){.place = place, .offset = offset};
	else if (number == REGISTERS_RETURN && offset != -8)
		row->is_odd = true;
}

static void restore(struct run *run, uint64_t number)
{
	struct saved *saved = saved_of(&run->row, number);

	if (saved)
		*saved = *saved_of(&run->initial, number);
}

/* An instruction about a register of which not everything is known. */
static void set_unknown(struct row *row, uint64_t number)
{
	if (saved_of(row, number) || number == REGISTERS_RETURN)
		row->is_odd = true;
}

/* A block with one register plus an offset, perhaps loaded: functions that align their stack. */
static void read_expression(struct reader *r, uint64_t *number, int64_t *offset, bool *is_loaded,
			    bool *is_odd)
{
	enum {
		BREG0 = 0x70,
		DEREF = 0x06
	};
	uint64_t size = read_unsigned(r);
	struct reader block = {.at = r->at, .end = r->at + size};

	r->at = block.end;
	*number = (uint64_t)*block.at++ - BREG0;
	*offset = read_signed(&block);
	*is_loaded = block.at < block.end && *block.at == DEREF;
	*is_odd = block.at + *is_loaded != block.end;
}

static void set_expression(struct run *run, struct reader *r, uint64_t number)
{
	uint64_t base;
	int64_t offset;
	bool is_loaded, is_odd;

	read_expression(r, &base, &offset, &is_loaded, &is_odd);
	if (!is_odd && !is_loaded && base == REGISTERS_FP && number != REGISTERS_RETURN)
		set_saved(&run->row, number, CFI_AT_FP, offset);
	else
		set_unknown(&run->row, number);
}

static void set_cfa_expression(struct run *run, struct reader *r)
{
	struct row *row = &run->row;
	bool is_odd;

	read_expression(r, &row->base, &row->offset, &row->is_loaded, &is_odd);
	row->is_odd |= is_odd;
}

static void remember(struct run *run)
{
	if (run->saved_count == SAVED_ROWS)
		run->row.is_odd = true;
	else
		run->saved[run->saved_count++] = run->row;
}

static void recall(struct run *run)
{
	if (run->saved_count)
		run->row = run->saved[--run->saved_count];
}

static void set_cfa(struct row *row, uint64_t base, int64_t offset)
{
	row->base = base;
	row->offset = offset;
	row->is_loaded = false;
}

/* Instructions that set the CFA. False: it is another one. */
static bool execute_cfa(struct run *run, struct reader *r, unsigned int opcode)
{
	int64_t factor = run->d->data_factor;
	uint64_t number;

	switch (opcode) {
	case 0x0c: /* def_cfa */
		number = read_unsigned(r);
		set_cfa(&run->row, number, (int64_t)read_unsigned(r));
		return true;
	case 0x0d: /* def_cfa_register */
		set_cfa(&run->row, read_unsigned(r), run->row.offset);
		return true;
	case 0x0e: /* def_cfa_offset */
		run->row.offset = (int64_t)read_unsigned(r);
		return true;
	case 0x0f: /* def_cfa_expression */
		set_cfa_expression(run, r);
		return true;
	case 0x12: /* def_cfa_sf */
		number = read_unsigned(r);
		set_cfa(&run->row, number, read_signed(r) * factor);
		return true;
	case 0x13: /* def_cfa_offset_sf */
		run->row.offset = read_signed(r) * factor;
		return true;
	default:
		return false;
	}
}

/* Instructions without operands in their opcode. */
static void execute_extended(struct run *run, struct reader *r, unsigned int opcode)
{
	int64_t factor = run->d->data_factor;
	uint64_t number;

	switch (opcode) {
	case 0x00: /* nop */
		break;
	case 0x02: /* advance_loc1, 2, 4 */
	case 0x03:
	case 0x04:
		run->at += read_fixed(r, (size_t)1 << (opcode - 2)) * run->d->code_factor;
		break;
	case 0x05: /* offset_extended */
		number = read_unsigned(r);
		set_saved(&run->row, number, CFI_AT_CFA, (int64_t)read_unsigned(r) * factor);
		break;
	case 0x06: /* restore_extended */
		restore(run, read_unsigned(r));
		break;
	case 0x07: /* undefined */
		run->row.is_outermost |= read_unsigned(r) == REGISTERS_RETURN;
		break;
	case 0x08: /* same_value */
		set_saved(&run->row, read_unsigned(r), CFI_SAME, -8);
		break;
	case 0x0a: /* remember_state */
		remember(run);
		break;
	case 0x0b: /* restore_state */
		recall(run);
		break;
	case 0x10: /* expression */
		number = read_unsigned(r);
		set_expression(run, r, number);
		break;
	case 0x11: /* offset_extended_sf */
		number = read_unsigned(r);
		set_saved(&run->row, number, CFI_AT_CFA, read_signed(r) * factor);
		break;
	case 0x16: /* val_expression */
		set_unknown(&run->row, read_unsigned(r));
		number = read_unsigned(r);
		r->at += number;
		break;
	case 0x2d: /* AARCH64_negate_ra_state: registers_strip serves for both states */
		break;
	case 0x2e: /* GNU_args_size */
		read_unsigned(r);
		break;
	default: /* no compiler uses the others */
		if (execute_cfa(run, r, opcode))
			break;
		run->row.is_odd = true;
		r->at = r->end;
	}
}

/* Execute instructions while they are for the address or lower ones. */
static void execute(struct run *run, struct reader r, uintptr_t address)
{
	while (r.at < r.end && run->at <= address) {
		unsigned int opcode = *r.at++, operand = opcode & 0x3f;
		struct reader next = r;

		switch (opcode >> 6) {
		case 1: /* advance_loc */
			run->at += operand * run->d->code_factor;
			break;
		case 2: /* offset */
			set_saved(&run->row, operand, CFI_AT_CFA,
				  (int64_t)read_unsigned(&next) * run->d->data_factor);
			break;
		case 3: /* restore */
			restore(run, operand);
			break;
		default:
			execute_extended(run, &next, opcode);
		}
		r = next;
	}
}

/* ---- Rules ---- */

static bool fits_words(int64_t offset, unsigned int bits)
{
	return offset % 8 == 0 && offset / 8 >= -(1 << (bits - 1)) && offset / 8 < 1 << (bits - 1);
}

static union cfi_rule rule_of(const struct row *row)
{
	bool is_based = row->base == REGISTERS_SP || row->base == REGISTERS_FP ||
			row->base == REGISTERS_OTHER;
	union cfi_rule rule = {.kind = CFI_ODD};

	if (row->is_outermost)
		rule.kind = CFI_OUTERMOST;
	if (row->is_outermost || row->is_odd || !is_based || !fits_words(row->fp.offset, 16) ||
	    !fits_words(row->other.offset, 16) || !fits_words(row->offset, 22))
		return rule;
	rule.kind = CFI_FRAME;
	rule.base = row->base == REGISTERS_SP	? CFI_SP
		    : row->base == REGISTERS_FP ? CFI_FP
						: CFI_OTHER;
	rule.is_loaded = row->is_loaded;
	rule.offset = row->offset / 8;
	rule.fp = row->fp.place;
	rule.fp_offset = row->fp.offset / 8;
	rule.other = row->other.place;
	rule.other_offset = row->other.offset / 8;
	return rule;
}

union cfi_rule cfi_read(const struct object *object, uintptr_t address)
{
	struct description d = {0};
	struct run run = {.d = &d};
	union cfi_rule rule = {.kind = find_description(object, address, &d)};

	if (rule.kind != CFI_FRAME)
		return rule;
	if (d.is_signal) {
		rule.kind = CFI_SIGNAL;
		return rule;
	}
	run.at = d.start;
	execute(&run, d.initial, address);
	run.initial = run.row;
	execute(&run, d.program, address);
	return rule_of(&run.row);
}
