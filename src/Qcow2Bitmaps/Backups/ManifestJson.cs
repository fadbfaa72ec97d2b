using System.Globalization;
using System.Text.Json;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Backups;

/// <summary>The text of a manifest.</summary>
internal static partial class ManifestJson
{
    /// <summary>The maximum size of the text, in bytes.</summary>
    public const int MaxBytes = 16 << 20;

    /// <summary>The maximum number of groups.</summary>
    public const int MaxGroups = 1 << 16;

    /// <summary>The maximum number of backups that one is based on, like the limit on images of a chain.</summary>
    public const int MaxParents = 63;

    private const string FormatName = "qcow2bitmaps-backup";

    public static byte[] Write(BackupManifest manifest)
    {
        using var text = new ArrayPoolBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("format", FormatName);
            json.WriteNumber("version", BackupManifest.SchemaVersion);
            json.WriteString("id", manifest.Id);
            json.WriteString("series", manifest.Series);
            json.WriteString("created", manifest.Created.UtcDateTime.ToString("O", CultureInfo.InvariantCulture));
            json.WriteString("state", WordOf(manifest.State));
            json.WriteStartArray("parents");
            foreach (BackupParent parent in manifest.Parents)
            {
                json.WriteStartObject();
                json.WriteString("id", parent.Id);
                json.WriteString("manifest", parent.Manifest);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteString("image", manifest.ImageFile);
            json.WriteString("image-format", manifest.ImageFormat);
            json.WriteNumber("size", manifest.SizeBytes);
            WriteNames(json, "source", manifest.Source);
            json.WriteString("source-file", manifest.SourceFile);
            json.WriteString("bitmap", manifest.Bitmap);
            json.WriteString("fallback", WordOf(manifest.Fallback));
            json.WriteString("verdict", manifest.Verdict);
            if (manifest.Missing is { } missing)
            {
                json.WriteString("missing", missing);
            }

            json.WriteString("checkpoint", manifest.Checkpoint);
            WriteNames(json, "anchors", manifest.Anchors);
            json.WriteString("set", manifest.Set);
            if (manifest.Origin != BackupOrigin.Taken)
            {
                json.WriteString("origin", WordOf(manifest.Origin));
            }

            if (manifest.DirtyBytes is { } dirty)
            {
                json.WriteNumber("dirty", dirty);
            }

            json.WriteNumber("group-size", manifest.GroupBytes);
            json.WriteStartArray("groups");
            foreach (BackupGroup group in manifest.Groups)
            {
                json.WriteStartObject();
                json.WriteNumber("offset", group.OffsetBytes);
                json.WriteNumber("data", group.DataBytes);
                json.WriteNumber("zero", group.ZeroBytes);
                json.WriteString("sha256", Convert.ToHexStringLower(group.Sha256.Span));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return text.WrittenSpan.ToArray();
    }

    private static void WriteNames(Utf8JsonWriter json, string member, IReadOnlyList<string> names)
    {
        json.WriteStartArray(member);
        foreach (string name in names)
        {
            json.WriteStringValue(name);
        }

        json.WriteEndArray();
    }

    /// <summary>The word that stands for a value.</summary>
    public static string WordOf<T>(T value)
        where T : struct, Enum => KebabCase.From(value.ToString());
}
