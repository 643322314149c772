/*
 * COUNT functions that nobody calls, each with a symbol and four rows of unwind information, as a big
 * program has them. With --defsym COUNT=n and SIZE=bytes.
 */
	.text
	.macro filler
	.type filler_\@, @function
filler_\@:
	.cfi_startproc
	.skip 4
	.cfi_def_cfa_offset 16
	.skip 8
	.cfi_def_cfa_offset 48
	.skip SIZE - 16
	.cfi_def_cfa_offset 8
	.skip 4
	.cfi_endproc
	.size filler_\@, . - filler_\@
	.endm

	.rept COUNT
	filler
	.endr
	.section .note.GNU-stack, "", @progbits
