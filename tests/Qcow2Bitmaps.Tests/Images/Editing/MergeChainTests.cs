using System.Globalization;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// Thousands of bitmaps that are merged one into the next in one edit: each page of each is made once, on a
/// stack that does not grow with their number.
/// </summary>
public sealed class MergeChainTests
{
    private const int Length = 4000;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AChainOfMergesTakesLinearTime(bool isReversed)
    {
        // Three pages each, and all different.
        await using Qcow2Image image = await OpenAsync(3);
        var edit = new BitmapEdit();
        for (int i = 0; i < Length; i++)
        {
            edit.Add(Name(i), 4096);
        }

        for (int i = 0; i < Length; i++)
        {
            int at = isReversed ? Length - 1 - i : i;
            edit.Set(Name(at), (long)i % 3000 * 12_288, 1);
            if (i > 0)
            {
                edit.Merge(Name(isReversed ? at + 1 : at - 1), into: Name(at));
            }
        }

        await image.Bitmaps.EditAsync(edit, Token).WaitAsync(Patience.Limit, Token);

        foreach (int i in new[] { 0, 1, 1500, Length - 1 })
        {
            int dirty = Math.Min(isReversed ? Length - i : i + 1, 3000);
            Assert.Equal(dirty, (await image.Bitmaps.CountAsync(Name(i), Token)).Bits);
        }
    }

    /// <summary>What was merged is gone, so that no written bitmap has it.</summary>
    [Fact]
    public async Task AChainOfBitmapsThatDoNotStayDoesNotFillTheStack()
    {
        await using Qcow2Image image = await OpenAsync(2);
        BitmapEdit edit = new BitmapEdit().Add(Name(0), 4096).Set(Name(0), 0, 1);
        for (int i = 1; i < Length; i++)
        {
            edit.Add(Name(i), 4096).Merge(Name(i - 1), into: Name(i)).Set(Name(i), (long)i % 3000 * 8192, 1).Remove(Name(i - 1));
        }

        await image.Bitmaps.EditAsync(edit, Token).WaitAsync(Patience.Limit, Token);

        Assert.Equal(3000, (await image.Bitmaps.CountAsync(Name(Length - 1), Token)).Bits);
    }

    private static Task<Qcow2Image> OpenAsync(int pages) => Qcow2Image.OpenAsync(
        new MemoryStorage(new TestImage(clusterBits: 9, virtualSizeBytes: (long)pages << 24).Build()), cancellationToken: Token);

    private static string Name(int i) => string.Create(CultureInfo.InvariantCulture, $"b{i}");
}
