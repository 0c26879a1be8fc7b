/* compare_variants.c - which recipes kerf compare puts side by side.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare.h"
#include "quantize_job.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* Where the settings of "NAME+KEY=VALUE+KEY=VALUE" begin: at the first '+' with a KEY= behind it,
 * as a file's name may have one, too; else at the end. */
static char *find_settings(char *text)
{
    for (char *plus = strchr(text, '+'); plus != NULL; plus = strchr(plus + 1, '+')) {
        if (plus[1 + strcspn(plus + 1, "+=")] == '=') {
            return plus;
        }
    }
    return text + strlen(text);
}

/* Changes a recipe by "+KEY=VALUE+KEY=VALUE". */
static kf_status set_all(kf_recipe *recipe, const char *settings, kf_error *err)
{
    char *rest = NULL;
    char *list = strdup(settings);
    kf_status st = list != NULL ? KF_OK : set_error(err, KF_NOMEM, "settings of a recipe");
    for (char *setting = list != NULL ? strtok_r(list, "+", &rest) : NULL;
         st == KF_OK && setting != NULL; setting = strtok_r(NULL, "+", &rest)) {
        st = kf_recipe_set(recipe, setting, err);
    }
    free(list);
    return st;
}

static kf_status name_variant(compare_variant *variant, const char *settings, kf_error *err)
{
    const char *name = kf_recipe_name(variant->recipe);
    const size_t n = strlen(name) + strlen(settings) + 1;
    variant->name = malloc(n);
    if (variant->name == NULL) {
        return set_error(err, KF_NOMEM, "names of recipes");
    }
    (void)snprintf(variant->name, n, "%s%s", name, settings);
    return KF_OK;
}

/* Opens one recipe with the changes that --set makes, and then its own. */
static kf_status open_variant(cli_comparison *c, const char *name, const char *settings,
                              kf_error *err)
{
    if (c->n_variants == RECIPES_MOST) {
        return set_error(err, KF_RANGE, "more than %d recipes", RECIPES_MOST);
    }
    compare_variant *variant = &c->variants[c->n_variants++];
    kf_status st = quantize_job_recipe(&variant->recipe, name, &c->options->set, err);
    st = st == KF_OK ? set_all(variant->recipe, settings, err) : st;
    return st == KF_OK ? name_variant(variant, settings, err) : st;
}

/* Opens all recipes of Kerf's own whose name matches a shell pattern. */
static kf_status open_matching(cli_comparison *c, const char *pattern, const char *settings,
                               kf_error *err)
{
    const char *name = NULL;
    const char *description = NULL;
    const size_t n_before = c->n_variants;
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && kf_recipe_at(i, &name, &description); i++) {
        if (fnmatch(pattern, name, 0) == 0) {
            st = open_variant(c, name, settings, err);
        }
    }
    return st == KF_OK && c->n_variants == n_before
               ? set_error(err, KF_INVALID, "--recipes: no recipe is called like '%s'", pattern)
               : st;
}

/* text is cut in two. */
static kf_status open_named(cli_comparison *c, char *text, kf_error *err)
{
    char settings[512];
    char *plus = find_settings(text);
    if (strlen(plus) >= sizeof settings) {
        return set_error(err, KF_RANGE, "--recipes: the settings '%.40s…' are too long", plus);
    }
    (void)snprintf(settings, sizeof settings, "%s", plus);
    *plus = '\0';
    if (strcmp(text, "all") == 0) {
        return open_matching(c, "*", settings, err);
    }
    return strpbrk(text, "*?[") != NULL ? open_matching(c, text, settings, err)
                                        : open_variant(c, text, settings, err);
}

kf_status compare_open_variants(cli_comparison *c, kf_error *err)
{
    kf_status st = KF_OK;
    char *rest = NULL;
    char *list = strdup(c->options->recipes);
    if (list == NULL) {
        return set_error(err, KF_NOMEM, "names of recipes");
    }
    for (char *text = strtok_r(list, ",", &rest); st == KF_OK && text != NULL;
         text = strtok_r(NULL, ",", &rest)) {
        st = open_named(c, text, err);
    }
    free(list);
    return st == KF_OK && c->n_variants == 0
               ? set_error(err, KF_INVALID, "--recipes '%s' names none", c->options->recipes)
               : st;
}

void compare_close_variants(cli_comparison *c)
{
    for (size_t i = 0; i < c->n_variants; i++) {
        kf_recipe_free(c->variants[i].recipe);
        free(c->variants[i].name);
    }
    c->n_variants = 0;
}
