namespace Qcow2Bitmaps.Format;

/// <summary>The rules for new bitmap names. Stored names may break them: see <see cref="BitmapDirectoryEntry"/>.</summary>
internal static class BitmapName
{
    /// <summary>The longest name, in bytes of UTF-8, that QEMU stores.</summary>
    public const int MaxBytes = 1023;

    /// <summary>Says what is wrong with a name.</summary>
    /// <param name="name">The name.</param>
    /// <returns>A sentence, in QEMU's words where it has them; null when the name is 1 to 1023 bytes of UTF-8 without a NUL.</returns>
    public static string? FaultOf(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        byte[] bytes = ImageText.Encode(name);
        return bytes.Length == 0 ? "Bitmap name cannot be empty"
            : bytes.Length > MaxBytes ? PrintableMessage.Of($"Bitmap name too long: {name}")
            : bytes.Contains((byte)0) ? "A bitmap's name cannot hold a NUL"
            : ImageText.HasInvalidBytes(name) || !string.Equals(ImageText.Decode(bytes), name, StringComparison.Ordinal)
                ? "A bitmap's name must be UTF-8"
            : null;
    }
}
