using System.Text.Json;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>
/// Validates JSON against the part of JSON Schema that the committed schemas use; whatever else stands in one is an error of the schema.
/// </summary>
internal sealed class JsonSchema
{
    private const string LocalDefinition = "#/$defs/";
    private static readonly string[] s_annotations = ["$schema", "$defs", "title", "description"];

    private readonly JsonElement _root;

    public JsonSchema(string text) => _root = JsonDocument.Parse(text).RootElement;

    /// <summary>Everything in a document that the schema does not allow, each with its place.</summary>
    public IReadOnlyList<string> Validate(string json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        return [.. Faults(_root, document.RootElement, "$")];
    }

    private IEnumerable<string> Faults(JsonElement schema, JsonElement value, string place) =>
        schema.EnumerateObject()
            .Where(static keyword => !s_annotations.Contains(keyword.Name))
            .SelectMany(keyword => FaultsOf(schema, keyword, value, place));

    private IEnumerable<string> FaultsOf(JsonElement schema, JsonProperty keyword, JsonElement value, string place) => keyword.Name switch
    {
        "$ref" => Faults(Definition(keyword.Value.GetString()!), value, place),
        "anyOf" =>
            keyword.Value.EnumerateArray().Any(choice => !Faults(choice, value, place).Any())
                ? []
                : [$"{place}: {value} is none of the choices"],
        "type" => HasType(value, keyword.Value.GetString()!) ? [] : [$"{place}: {value} is no {keyword.Value}"],
        "const" => JsonElement.DeepEquals(value, keyword.Value) ? [] : [$"{place}: {value} is not {keyword.Value}"],
        "enum" =>
            keyword.Value.EnumerateArray().Any(allowed => JsonElement.DeepEquals(value, allowed))
                ? []
                : [$"{place}: {value} is none of {JsonSerializer.Serialize(keyword.Value)}"],
        "minimum" =>
            value.ValueKind != JsonValueKind.Number || value.GetDecimal() >= keyword.Value.GetDecimal()
                ? []
                : [$"{place}: {value} is below {keyword.Value}"],
        "maximum" =>
            value.ValueKind != JsonValueKind.Number || value.GetDecimal() <= keyword.Value.GetDecimal()
                ? []
                : [$"{place}: {value} is above {keyword.Value}"],
        "required" => keyword.Value.EnumerateArray().Select(static name => name.GetString()!)
            .Where(name => value.ValueKind == JsonValueKind.Object && !value.TryGetProperty(name, out _))
                .Select(name => $"{place}: '{name}' is missing"),
        "properties" => value.ValueKind != JsonValueKind.Object ? [] : keyword.Value.EnumerateObject()
            .SelectMany(property =>
                value.TryGetProperty(property.Name, out JsonElement member)
                    ? Faults(property.Value, member, $"{place}.{property.Name}")
                    : []),
        "additionalProperties" when keyword.Value.ValueKind == JsonValueKind.False =>
            value.ValueKind != JsonValueKind.Object ? [] : value.EnumerateObject()
            .Where(member => !schema.GetProperty("properties").TryGetProperty(member.Name, out _))
                .Select(member => $"{place}: '{member.Name}' is not in the schema"),
        "items" =>
            value.ValueKind != JsonValueKind.Array
                ? []
                : value.EnumerateArray().SelectMany((item, i) => Faults(keyword.Value, item, $"{place}[{i}]")),
        _ => throw new InvalidDataException($"The keyword '{keyword.Name}' is not known here"),
    };

    private JsonElement Definition(string reference) => reference.StartsWith(LocalDefinition, StringComparison.Ordinal)
        ? _root.GetProperty("$defs").GetProperty(reference[LocalDefinition.Length..])
        : throw new InvalidDataException($"'{reference}' leads out of the schema");

    private static bool HasType(JsonElement value, string type) => type switch
    {
        "object" => value.ValueKind == JsonValueKind.Object,
        "array" => value.ValueKind == JsonValueKind.Array,
        "string" => value.ValueKind == JsonValueKind.String,
        "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
        "integer" => value.ValueKind == JsonValueKind.Number && decimal.IsInteger(value.GetDecimal()),
        _ => throw new InvalidDataException($"The type '{type}' is not known here"),
    };
}
