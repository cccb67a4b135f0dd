// A JSON Schema validator for tests, and a look for keys that a schema does not describe.

import Ajv2020 from "ajv/dist/2020.js";
import type { JsonSchema } from "../evaluator/schema.ts";

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** Says what is wrong with a value. @throws Error when the schema itself is not valid, or holds what has no effect */
export function validatorOf(schema: JsonSchema): (value: unknown) => string[] {
  const ajv = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true, allErrors: true });
  ajv.addFormat("date-time", RFC3339);
  const validate = ajv.compile(schema);
  return (value) =>
    validate(value) ? [] : (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message}`);
}

/** The places of keys in a value that no part of its schema describes. */
export function undescribed(value: unknown, schema: JsonSchema): string[] {
  return search(value, [schema], schema, "");
}

/** `schemas`: those that may be meant. */
function search(value: unknown, schemas: readonly JsonSchema[], root: JsonSchema, at: string): string[] {
  if (typeof value !== "object" || value === null) return [];
  const meant = schemas
    .flatMap((schema) => alternatives(schema, root))
    .filter((schema) => fits(value, schema));
  if (Array.isArray(value)) {
    const items = meant.flatMap(({ items: item }) => (item ? [item as JsonSchema] : []));
    return value.flatMap((item, i) => search(item, items, root, `${at}/${i}`));
  }
  return Object.entries(value).flatMap(([key, item]) => {
    const found = meant.flatMap(({ properties, additionalProperties: others }) => {
      const own = (properties as Record<string, JsonSchema> | undefined)?.[key];
      return own ? [own] : isSchema(others) ? [others] : [];
    });
    const isDescribed = found.some(
      (schema) =>
        typeof schema["description"] === "string" || meant.some((one) => one["additionalProperties"]),
    );
    return [...(isDescribed ? [] : [`${at}/${key}`]), ...search(item, found, root, `${at}/${key}`)];
  });
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null;
}

/** A schema with all that it refers to or offers. */
function alternatives(schema: JsonSchema, root: JsonSchema): JsonSchema[] {
  const { $ref, oneOf = [] } = schema as { $ref?: string; oneOf?: JsonSchema[] };
  const named = $ref?.split("/").at(-1);
  const definitions = root["$defs"] as Record<string, JsonSchema> | undefined;
  const target = named === undefined ? undefined : definitions?.[named];
  const inner = [...oneOf, ...(target ? [target] : [])];
  return [schema, ...inner.flatMap((one) => alternatives(one, root))];
}

/** Does the value have what the schema tells its kind by: the constants in it? */
function fits(value: object, { properties = {} }: JsonSchema): boolean {
  return Object.entries(properties as Record<string, JsonSchema>).every(
    ([key, { const: word }]) => word === undefined || (value as Record<string, unknown>)[key] === word,
  );
}
