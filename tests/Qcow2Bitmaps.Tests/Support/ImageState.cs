using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// All that an image says, so that two images can be compared: its bitmaps with their bits, what the disk reads, names and
/// unknown extensions, and what a check finds.
/// </summary>
internal sealed record ImageState
{
    // What a writer of bitmaps may leave where an extension was, and may use again: it means nothing.
    private const HeaderExtensionType Filler = (HeaderExtensionType)0x5142464C;

    /// <summary>The bitmaps that QEMU would show, in the directory's order.</summary>
    public required ImmutableArray<StoredBitmap> Bitmaps { get; init; }

    /// <summary>The header without what a writer of bitmaps may change, the names and the other extensions in their order.</summary>
    public required string Identity { get; init; }

    /// <summary>The disk's and the snapshots' tables and clusters.</summary>
    public required GuestContent Guest { get; init; }

    /// <summary>
    /// Whether the autoclear bit of the bitmaps is on though there is no extension: QEMU would mark the image corrupt with its next write.
    /// </summary>
    public required bool HasStrayAutoclearBit { get; init; }

    public required CheckReport Check { get; init; }

    public static async Task<ImageState> ReadAsync(byte[] content)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        var storage = MemoryStorage.ReadOnly(content);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: token);
        DirectoryTail.AssertZeros(image, content, "a state of the image");
        var lenient = new Qcow2OpenOptions { Strictness = Strictness.Lenient };
        await using Qcow2Image? alsoInconsistent = image.Bitmaps.Any(static b => b.State == BitmapState.Inconsistent)
            ? await Qcow2Image.OpenAsync(storage, lenient, cancellationToken: token)
            : null;
        var bitmaps = ImmutableArray.CreateBuilder<StoredBitmap>();
        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            var findings = new List<FormatFault>();
            BitmapCollection reader = bitmap.State == BitmapState.Inconsistent ? alsoInconsistent!.Bitmaps : image.Bitmaps;
            byte[] hash = (await reader.LoadAsync(reader[bitmap.Index], findings, token)).Sha256();
            bitmaps.Add(
                new StoredBitmap(bitmap.Name, bitmap.GranularityBytes, bitmap.Flags, Convert.ToHexString(hash) + string.Concat(findings)));
        }

        return new ImageState
        {
            Bitmaps = bitmaps.ToImmutable(),
            Identity = IdentityOf(image),
            Guest = GuestContent.Of(content, image),
            HasStrayAutoclearBit = image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps)
                && image.Extensions.All(static e => e.Type != HeaderExtensionType.Bitmaps),
            Check = await image.CheckAsync(token),
        };
    }

    /// <summary>Whether both hold the same bitmaps and all else that is not for a writer of bitmaps to change.</summary>
    public bool IsSameAs(ImageState other) =>
        Bitmaps.SequenceEqual(other.Bitmaps) && Identity == other.Identity && Guest.IsSameAs(other.Guest);

    /// <summary>Whether a check finds leaks at worst, and QEMU could write the image.</summary>
    public bool IsSound => Check.Corruptions == 0 && Check.CheckErrors == 0 && !HasStrayAutoclearBit;

    public override string ToString()
    {
        var text = new StringBuilder();
        foreach (StoredBitmap bitmap in Bitmaps)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"  {bitmap.Name} {bitmap.GranularityBytes} {bitmap.Flags} {bitmap.Sha256}");
        }

        text.AppendLine(CultureInfo.InvariantCulture, $"  {Identity}").AppendLine(CultureInfo.InvariantCulture, $"  disk {Guest}");
        text.AppendLine(
            CultureInfo.InvariantCulture,
            $"  {Check.Corruptions} corruptions, {Check.Leaks} leaks, {Check.CheckErrors} check "
            + $"errors{(HasStrayAutoclearBit ? ", stray autoclear bit" : "")}");
        foreach (CheckFinding finding in Check.Findings.OrderByDescending(static f => f.Kind).Take(5))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"    {finding.Message}");
        }

        return text.ToString();
    }

    private static string IdentityOf(Qcow2Image image)
    {
        Qcow2Header header = image.Header with
        {
            RefcountTableOffset = 0,
            RefcountTableClusters = 0,
            BackingFileOffset = 0,
            AutoclearFeatures = image.Header.AutoclearFeatures & AutoclearFeatures.RawExternalData,
            IncompatibleFeatures = IncompatibleFeatures.None,
        };
        var bytes = new byte[header.HeaderLength];
        header.Write(bytes);
        IEnumerable<string> extensions = image.Extensions
            .Where(static e => e.Type is not HeaderExtensionType.Bitmaps and not Filler)
            .Select(static e => string.Create(CultureInfo.InvariantCulture, $"{(uint)e.Type:x}:{Convert.ToHexString(e.Data.Span)}"));
        return string.Create(
            CultureInfo.InvariantCulture,
            $"IncompatibleFeatures = {image.Header.IncompatibleFeatures}, header {Convert.ToHexString(bytes)}, "
            + $"backing '{image.BackingFile}', extensions {string.Join(' ', extensions)}");
    }
}
