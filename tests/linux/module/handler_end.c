// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes event 0's handler on CPU 1 end as no unmodified kernel's does.
//!
//! An unmodified kernel that stops a wedged CPU leaves it in the handler for
//! ever. Other clients of SDEI end it in other ways, after each of which the
//! capture kernel has to find SDEI in order. `end=` says how:
//!
//! - `off`: CPU_OFF, from inside the handler;
//! - `resume-off`: COMPLETE_AND_RESUME, then CPU_OFF;
//! - `resume-park`: COMPLETE_AND_RESUME, then spin for ever;
//! - `panic`: panic in the handler, when it is going to print the backtrace.

#include <linux/arm-smccc.h>
#include <linux/arm_sdei.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <uapi/linux/psci.h>

/* What wedge.sh wedges. */
#define WEDGED 1

static char *end;
module_param(end, charp, 0444);

/* Leaves the handler and goes on at label 1, with this stack. */
#define RESUME							\
	"mov	x0, %[resume]\n"				\
	"adr	x1, 1f\n"					\
	"smc	#0\n"						\
	"1:	hint	#36\n"

static void __noreturn resume_off(void)
{
	asm volatile(RESUME
		"mov	x0, %[low]\n"
		"movk	x0, %[high], lsl #16\n"
		"smc	#0\n"
		"b	."
		: : [resume] "r" (SDEI_1_0_FN_SDEI_EVENT_COMPLETE_AND_RESUME),
		    [low] "i" (PSCI_0_2_FN_CPU_OFF & 0xffff),
		    [high] "i" (PSCI_0_2_FN_CPU_OFF >> 16)
		: "memory");
	unreachable();
}

static void __noreturn resume_park(void)
{
	asm volatile(RESUME
		"b	."
		: : [resume] "r" (SDEI_1_0_FN_SDEI_EVENT_COMPLETE_AND_RESUME)
		: "memory");
	unreachable();
}

/*
 * Where the kernel, its registers saved and the CPU offline, masks SDEI before it
 * parks. Idle masks it too, of a CPU that is online.
 */
static int stopping(struct kprobe *probe, struct pt_regs *regs)
{
	struct arm_smccc_res result;

	if (smp_processor_id() != WEDGED || cpu_online(WEDGED))
		return 0;
	arm_smccc_smc(SDEI_1_0_FN_SDEI_PE_MASK, 0, 0, 0, 0, 0, 0, 0, &result);
	if (!strcmp(end, "resume-off"))
		resume_off();
	if (!strcmp(end, "resume-park"))
		resume_park();
	arm_smccc_smc(PSCI_0_2_FN_CPU_OFF, 0, 0, 0, 0, 0, 0, 0, &result);
	panic("CPU_OFF in the handler answered %ld", (long)result.a0);
}

/*
 * Where the handler waits for its turn to print the backtrace that it was asked
 * for. When it has got it, all others wait in their handlers, and nothing would
 * stop them.
 */
static int printing(struct kprobe *probe, struct pt_regs *regs)
{
	if (smp_processor_id() == WEDGED)
		panic("in event 0's handler");
	return 0;
}

static struct kprobe probe;

static int __init handler_end_init(void)
{
	if (!end)
		return -EINVAL;
	if (!strcmp(end, "panic")) {
		probe.symbol_name = "__printk_cpu_sync_try_get";
		probe.pre_handler = printing;
	} else if (!strcmp(end, "off") || !strcmp(end, "resume-off") ||
		   !strcmp(end, "resume-park")) {
		probe.symbol_name = "sdei_mask_local_cpu";
		probe.pre_handler = stopping;
	} else {
		return -EINVAL;
	}
	return register_kprobe(&probe);
}
module_init(handler_end_init);

MODULE_DESCRIPTION("Ends SDEI event 0's handler in unusual ways");
MODULE_LICENSE("Dual MIT/GPL");
