/* all.h - what bindgen reads
 *
 * SPDX-License-Identifier: MIT
 */
#include <qcbm-io.h>
#include <qcbm.h>
