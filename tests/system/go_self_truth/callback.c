// SPDX-License-Identifier: Apache-2.0
extern void calledFromC(int);
void callBack(int n) { calledFromC(n + 1); }
