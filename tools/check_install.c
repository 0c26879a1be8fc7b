/* check_install.c - a user of the installed library, as small as one can be: ./dev check builds it
 * with what pkg-config says.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include <kerf/error.h>
#include <kerf/model.h>
#include <kerf/version.h>

int main(void)
{
    kf_model *model = NULL;
    kf_error err = {0};
    const kf_status status = kf_model_open(&model, "/nonexistent", NULL, &err);
    if (status != KF_INPUT) {
        (void)fprintf(stderr, "expected '%s', found '%s'\n", kf_status_text(KF_INPUT),
                      kf_status_text(status));
        return 1;
    }
    (void)printf("libkerf %s\n", kf_version());
    return 0;
}
