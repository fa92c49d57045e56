/* Starts a program on a Cortex-M of QEMU: turns the FPU on, clears .bss, ends with main's code. */
extern unsigned int stack_top, bss_start, bss_end;
extern int main(void);
extern void initialise_monitor_handles(void);
extern void exit(int code);

void _fini(void) {} /* what exit calls */

void reset(void) {
  volatile unsigned int *const fpu = (volatile unsigned int *)0xE000ED88u;
  unsigned int *word;
  *fpu |= 0xFu << 20;
  for (word = &bss_start; word < &bss_end; word++) *word = 0;
  initialise_monitor_handles();
  exit(main());
}

static void fault(void) { exit(99); }

__attribute__((section(".vectors"), used)) static void *const vectors[] = {
    &stack_top, reset, fault, fault, fault, fault, fault};
