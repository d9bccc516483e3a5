/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into every program of the sanitizer build. The headers of newer Abseil close the empty
 * slots of its tables to AddressSanitizer, and its library opens them again: not the
 * distribution's, which was built without the sanitizer.
 */
const char* __asan_default_options(void);

const char* __asan_default_options(void) { return "allow_user_poisoning=0"; }
