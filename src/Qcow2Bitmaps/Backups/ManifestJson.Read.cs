using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Qcow2Bitmaps.Backups;

/// <summary>Reading. What is read is untrusted: each member is checked, counts and depth are bounded.</summary>
internal static partial class ManifestJson
{
    private const int MaxDepth = 8;
    private const int MaxNames = 1024;
    private const int MaxTextBytes = 1 << 16;
    private const int MaxMessage = 300;
    private const int IdDigits = 32;
    private const int Sha256Bytes = 32;
    private const int SectorBytes = 512;
    private const long GroupUnitBytes = 1 << 20;

    /// <summary>Reads a manifest.</summary>
    /// <param name="path">Where it stands, for messages.</param>
    /// <param name="text">Its bytes.</param>
    /// <param name="withGroups">Whether the groups are read.</param>
    /// <exception cref="BackupException">It is not a manifest, or it has invalid members.</exception>
    public static BackupManifest Read(string path, ReadOnlyMemory<byte> text, bool withGroups)
    {
        try
        {
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = MaxDepth });
            return Read(document.RootElement, withGroups);
        }
        catch (Exception e)
            when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException or OverflowException
                or InvalidDataException)
        {
            throw new BackupException(
                $"'{path}' is no manifest of a backup: {(e.Message.Length > MaxMessage ? e.Message[..MaxMessage] + "..." : e.Message)}", e);
        }
    }

    private static BackupManifest Read(JsonElement root, bool withGroups)
    {
        Require(
            root.ValueKind == JsonValueKind.Object
                && root.TryGetProperty("format", out JsonElement format)
                && format.ValueEquals(FormatName),
            $"'format' is not '{FormatName}'");
        int version = root.GetProperty("version").GetInt32();
        Require(version == BackupManifest.SchemaVersion, $"'version' is {version}, only {BackupManifest.SchemaVersion} is read");
        long size = root.GetProperty("size").GetInt64();
        Require(size >= 0 && size % SectorBytes == 0, $"'size' is {size}, not a multiple of {SectorBytes}");
        Require(size <= Disk.MaxSizeBytes, $"'size' is {size}, a disk has at most {Disk.MaxSizeBytes} bytes");
        long groupBytes = root.GetProperty("group-size").GetInt64();
        Require(
            groupBytes >= GroupUnitBytes && groupBytes % GroupUnitBytes == 0,
            $"'group-size' is {groupBytes}, not a multiple of {GroupUnitBytes}");
        string image = Text(root, "image");
        Require(BackupPaths.IsFileName(image), $"'image' is '{image}', not the name of a file in the manifest's folder");
        string imageFormat = Text(root, "image-format");
        Require(imageFormat is ImageFormat.Qcow2 or ImageFormat.Raw, $"'image-format' is '{imageFormat}', not qcow2 or raw");
        var parents = new List<BackupParent>();
        JsonElement parentList = root.GetProperty("parents");
        Require(
            parentList.GetArrayLength() <= MaxParents,
            $"'parents' has {parentList.GetArrayLength()} members, at most {MaxParents} are read");
        foreach (JsonElement parent in parentList.EnumerateArray())
        {
            string manifest = Text(parent, "manifest");
            Require(
                BackupPaths.IsFileName(manifest), $"a parent's manifest is '{manifest}', not the name of a file in the manifest's folder");
            parents.Add(new BackupParent(Id(parent, "id"), manifest));
        }

        Require(imageFormat is ImageFormat.Qcow2 || parents.Count == 0, "a raw image has no parents, but 'parents' is not empty");
        return new BackupManifest
        {
            Id = Id(root, "id"),
            Series = Id(root, "series"),
            Created = new DateTimeOffset(
                DateTime.ParseExact(Text(root, "created"), "O", CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind)
                    .ToUniversalTime()),
            State = OneOf<BackupState>(root, "state"),
            Parents = parents,
            ImageFile = image,
            ImageFormat = imageFormat,
            SizeBytes = size,
            Source = Names(root, "source"),
            SourceFile = TextOrNull(root, "source-file"),
            Bitmap = TextOrNull(root, "bitmap"),
            Fallback = OneOf<BackupFallback>(root, "fallback"),
            Verdict = TextOrNull(root, "verdict"),
            Missing = root.TryGetProperty("missing", out JsonElement missing) ? TextOf(missing, "missing") : null,
            Checkpoint = TextOrNull(root, "checkpoint"),
            Anchors = Names(root, "anchors"),
            Origin = root.TryGetProperty("origin", out _) ? OneOf<BackupOrigin>(root, "origin") : BackupOrigin.Taken,
            Set = TextOrNull(root, "set"),
            DirtyBytes = root.TryGetProperty("dirty", out JsonElement dirty) ? dirty.GetInt64() : null,
            GroupBytes = groupBytes,
            Groups = withGroups ? Groups(root.GetProperty("groups"), groupBytes, size) : [],
        };
    }

    private static List<BackupGroup> Groups(JsonElement list, long groupBytes, long size)
    {
        Require(list.GetArrayLength() <= MaxGroups, $"'groups' has {list.GetArrayLength()} members, at most {MaxGroups} are read");
        var groups = new List<BackupGroup>(list.GetArrayLength());
        long next = 0;
        foreach (JsonElement group in list.EnumerateArray())
        {
            long offset = group.GetProperty("offset").GetInt64();
            Require(
                offset >= next && offset % groupBytes == 0 && offset < size,
                $"a group's 'offset' is {offset}: not in order, or not on the disk");
            byte[] sha256 = Convert.FromHexString(Text(group, "sha256"));
            Require(sha256.Length == Sha256Bytes, $"a 'sha256' has {sha256.Length} bytes");
            groups.Add(new BackupGroup(offset, Bytes(group, "data", groupBytes), Bytes(group, "zero", groupBytes), sha256));
            next = offset + Math.Min(groupBytes, size - offset);
        }

        return groups;
    }

    private static long Bytes(JsonElement element, string name, long max)
    {
        long value = element.GetProperty(name).GetInt64();
        Require(value >= 0 && value <= max, $"'{name}' is {value}, a group has {max} bytes");
        return value;
    }

    private static List<string> Names(JsonElement root, string member)
    {
        JsonElement list = root.GetProperty(member);
        Require(list.GetArrayLength() <= MaxNames, $"'{member}' has {list.GetArrayLength()} members, at most {MaxNames} are read");
        return [.. list.EnumerateArray()
            .Select(element => TextOf(element, member) ?? throw new InvalidDataException($"'{member}' has a member that is no text"))];
    }

    private static string Text(JsonElement element, string member) =>
        TextOrNull(element, member) ?? throw new InvalidDataException($"'{member}' is no text");

    private static string? TextOrNull(JsonElement element, string member) => TextOf(element.GetProperty(member), member);

    private static string? TextOf(JsonElement element, string member)
    {
        int bytes = JsonMarshal.GetRawUtf8Value(element).Length;
        Require(bytes <= MaxTextBytes, $"'{member}' has {bytes} bytes, at most {MaxTextBytes} are read");
        return element.GetString();
    }

    private static string Id(JsonElement element, string member)
    {
        string id = Text(element, member);
        Require(id.Length == IdDigits && id.All(char.IsAsciiHexDigitLower), $"'{member}' is not {IdDigits} hexadecimal digits");
        return id;
    }

    private static T OneOf<T>(JsonElement element, string member)
        where T : struct, Enum
    {
        string text = Text(element, member);
        foreach (T value in Enum.GetValues<T>())
        {
            if (string.Equals(WordOf(value), text, StringComparison.Ordinal))
            {
                return value;
            }
        }

        throw new InvalidDataException($"'{member}' is '{text}', which means nothing");
    }

    private static void Require(bool isSo, string fault)
    {
        if (!isSo)
        {
            throw new InvalidDataException(fault);
        }
    }
}
